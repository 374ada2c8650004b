"""The generic field: cases from a table of the user's own, claims from any text by a declared form."""

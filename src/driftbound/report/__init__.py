"""Report: a page and a table that say what a run found."""

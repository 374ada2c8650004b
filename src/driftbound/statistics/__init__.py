"""Statistics: intervals over clusters, and agreement of raters."""

"""Fields: what is asked, how answers are read, what is scored. One folder each."""

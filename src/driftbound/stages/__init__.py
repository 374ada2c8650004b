"""The seven stages, one file each: the only place where mechanisms meet."""

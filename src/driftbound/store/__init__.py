"""Memory of a run: folders, manifests, streams and Parquet tables."""

"""tables: the parts of the source that reads tables."""

"""General-purpose I/O."""

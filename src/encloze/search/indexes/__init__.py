"""Family of search indexes: BM25, flat (dense) and inverted (sparse)."""

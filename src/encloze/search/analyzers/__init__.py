"""Family of text analyzers, which split a text into the terms that BM25 counts."""

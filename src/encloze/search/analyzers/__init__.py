"""Analyzers: what counts as a word for BM25, one rule a file."""

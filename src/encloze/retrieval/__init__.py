"""Retrievers: encoders, indexes, fusion and re-ranking over one collection."""

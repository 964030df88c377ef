"""Retrievers, which search one document collection with encoders, indexes, fusion and re-ranking."""

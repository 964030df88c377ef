"""Lexical, dense and sparse indexes, query expansion, and rank fusion; works without torch."""

"""Tokenization and training spans, with numpy only."""

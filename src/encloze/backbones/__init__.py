"""Transformer encoder families behind one interface, one family per file."""

"""Transformer encoder families behind one interface, one family a file."""

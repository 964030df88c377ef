"""Heads: what becomes of the hidden states of a text, one kind a file."""

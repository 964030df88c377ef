"""Heads: from hidden states to the dense or sparse representation of a text, one kind a file."""

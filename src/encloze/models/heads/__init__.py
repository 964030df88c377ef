"""Heads: from hidden states to the dense or sparse representation of a text, one kind per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

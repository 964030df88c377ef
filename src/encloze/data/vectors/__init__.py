"""Formats in which embeddings and term weights are exchanged with other programs."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

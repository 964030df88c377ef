"""Heads, which map hidden states to the dense or sparse representation of a text; one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

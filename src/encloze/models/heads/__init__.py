"""Heads, which map the hidden states of a text to its dense or sparse representation. Each module defines one head."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

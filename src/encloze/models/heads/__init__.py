"""Heads, which compute an embedding or term weights from the hidden states of a text. Each module defines one head."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

"""Contexts for pre-training on text pairs: each type of context selects the second text of a pair."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

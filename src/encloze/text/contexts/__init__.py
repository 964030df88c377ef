"""Contexts: sources of the second text of a training pair, one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

"""Formats of labeled texts and tagged words, one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

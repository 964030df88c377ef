"""Formats of labeled texts and tagged words, each in its own module."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

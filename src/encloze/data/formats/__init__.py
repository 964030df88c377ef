"""Formats of documents, queries and judgments, each in its own module."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

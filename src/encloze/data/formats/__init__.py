"""Formats of documents, queries and judgments, one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

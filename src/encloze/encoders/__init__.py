"""Encoders of queries and documents, and scorers of query-document pairs, behind one interface."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

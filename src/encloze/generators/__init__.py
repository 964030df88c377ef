"""Generators: models that write queries for documents, one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

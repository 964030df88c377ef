"""Generators: models that generate queries for documents; each module contains one generator."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

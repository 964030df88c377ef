"""Chunkers: ways to cut long texts into passages."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

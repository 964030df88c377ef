"""Rank fusions: classes that merge the rankings of several indexes into one ranking."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

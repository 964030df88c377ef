"""Formats in which models are exported to other programs, each with a certificate that the vectors are the same."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

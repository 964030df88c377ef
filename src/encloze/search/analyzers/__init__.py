"""Text analyzers: classes that split a text into the terms that BM25 counts."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

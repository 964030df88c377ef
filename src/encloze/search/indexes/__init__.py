"""Family of search indexes: BM25, flat (dense) and inverted (sparse)."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

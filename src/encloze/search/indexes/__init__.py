"""Search indexes: BM25 (text), flat, HNSW and IVF (dense representations) and inverted (sparse representations)."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

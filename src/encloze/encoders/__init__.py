"""Text to representations: what encodes queries and documents, and scores pairs, behind one protocol."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

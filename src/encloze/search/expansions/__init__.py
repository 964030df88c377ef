"""Query expansions: classes that add terms of the top-ranked documents to a query (pseudo-relevance feedback)."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

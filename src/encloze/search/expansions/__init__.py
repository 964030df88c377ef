"""Family of query expansions by pseudo-relevance feedback."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

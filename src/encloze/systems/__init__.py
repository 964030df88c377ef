"""Systems that rank documents and can be evaluated: indexes, models, hybrids, re-rankers and run files."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

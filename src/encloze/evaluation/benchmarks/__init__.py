"""Published benchmarks. The evaluated split, the measures and the rules are those used in published results."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

"""Published benchmarks by name, each with the split, measures and rules of its publication."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

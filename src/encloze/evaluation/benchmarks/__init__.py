"""Published benchmarks. Each is evaluated on the split, with the measures and by the rules of published results."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

"""Family of rank fusions, which merge the rankings of several indexes into one."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

"""Origins: the sources of models that are trained, one kind per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

"""Origins: sources of the initial model for training, one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

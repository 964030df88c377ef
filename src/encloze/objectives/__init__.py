"""Pre-training objectives; each module holds one objective."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

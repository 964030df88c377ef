"""Pre-training objectives. Each module defines one objective."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

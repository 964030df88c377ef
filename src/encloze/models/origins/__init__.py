"""Origins, which load or create the initial model for training. Each module defines one origin."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

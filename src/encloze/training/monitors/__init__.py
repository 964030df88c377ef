"""Monitors: metrics that are computed at regular intervals during pre-training."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

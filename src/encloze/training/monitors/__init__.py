"""Monitors: metrics computed at regular steps of a pre-training, one per file."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

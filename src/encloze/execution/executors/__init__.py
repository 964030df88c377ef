"""Executors: where the shards of a job are computed."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

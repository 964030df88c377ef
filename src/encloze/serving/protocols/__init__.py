"""Protocols, the paths and JSON shapes in which the service is used. Each module defines one protocol."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

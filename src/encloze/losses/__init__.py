"""Training losses for fine-tuning; each module contains one loss."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

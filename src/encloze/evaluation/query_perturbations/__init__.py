"""Query perturbations: changes to the text of a query, such as typing errors, one per file. Does not import torch."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

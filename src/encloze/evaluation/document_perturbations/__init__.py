"""Document perturbations: changes that make a collection harder to search. Does not import torch."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

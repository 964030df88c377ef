"""Query perturbations: changes to the text of a query, such as typing errors. Does not import torch."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)

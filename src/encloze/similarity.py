"""How two texts are scored: the same lines for numpy arrays in search and for torch tensors in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Similarity:
    """The weighted sum of the inner products of two representations, view by view."""

    dense: float = 1.0
    sparse: float = 1.0

    def parts(self, queries: Any, documents: Any) -> dict[str, Any]:
        """What each view that both have adds to the scores of every query with every document: queries x documents.

        Embeddings are normalised, if at all, by the head that makes them, so the cosine needs no second rule here.
        """
        views = (("dense", self.dense), ("sparse", self.sparse))
        return {
            view: weight * _product(getattr(queries, view), getattr(documents, view))
            for view, weight in views
            if getattr(queries, view) is not None
        }

    def score(self, queries: Any, documents: Any) -> Any:
        """The scores of every query with every document: queries x documents."""
        return sum(self.parts(queries, documents).values())

    def of_pairs(self, queries: Any, documents: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The scores of queries (by number in ``rows``) each with one document (``columns``): float32, pairs."""
        found = np.zeros(len(rows), np.float32)
        if queries.dense is not None:
            found += self.dense * np.einsum("ij,ij->i", queries.dense[rows], documents.dense[columns])
        if queries.sparse is not None:
            products = queries.sparse[rows].multiply(documents.sparse[columns])
            found += self.sparse * np.asarray(products.sum(axis=1)).ravel()
        return found


def _product(queries: Any, documents: Any) -> Any:
    product = queries @ documents.T
    return product.toarray() if hasattr(product, "toarray") else product  # of scipy's matrices

"""Similarity function of queries and documents, for numpy arrays in search and torch tensors in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from encloze.data.records import Representation
from encloze.errors import RecipeError


@dataclass(frozen=True)
class Similarity:
    """Similarity function: the weighted sum of the inner products of dense and of sparse representations.

    Embeddings of models trained with cosine similarity are L2-normalized by the head of the model, so their
    inner product is the cosine.

    Args:
        dense: Weight of the dense inner product.
        sparse: Weight of the sparse inner product.
        cosine: Whether the dense score is the cosine of the embeddings instead of their inner product. The two differ
            if the model does not L2-normalize its embeddings.

    Example:
        >>> similarity = Similarity()
        >>> similarity(np.eye(2, 3), np.ones((4, 3))).shape
        (2, 4)
    """

    dense: float = 1.0
    sparse: float = 1.0
    cosine: bool = False

    def __call__(self, queries: Any, documents: Any) -> np.ndarray:
        """Score every query against every document.

        Args:
            queries: Output of an encoder for queries: a dense array (queries x dim; a single vector is one query),
                a scipy sparse matrix (queries x vocabulary), or a ``Representation`` with one or both of these.
            documents: Output of an encoder for documents: dense, sparse or both, as for the queries, and with the same
                number of dimensions.

        Returns:
            float array, queries x documents.

        Raises:
            RecipeError: An argument is none of these, only one of queries and documents has embeddings (or term
                weights), or their dimensions differ.
        """
        of_queries, of_documents = _to_representation(queries, "queries"), _to_representation(documents, "documents")
        for view in ("dense", "sparse"):
            one, other = getattr(of_queries, view), getattr(of_documents, view)
            if (one is None) != (other is None):
                side, other_side = ("documents", "queries") if one is None else ("queries", "documents")
                raise _refused(
                    side,
                    f"{side} have {view} representations, but {other_side} do not. Encode both with the same model",
                )
            if one is not None and one.shape[1] != other.shape[1]:
                raise _refused(
                    "documents",
                    f"queries have {one.shape[1]} {view} dimensions, but documents have {other.shape[1]}. Encode both "
                    "with the same model",
                )
        return np.asarray(self.score(of_queries, of_documents))

    def score(self, queries: Representation, documents: Representation) -> Any:
        """Score every query against every document, for arrays or torch tensors, without checks of dimensions.

        Args:
            queries: Embeddings or term weights of the queries, or both.
            documents: Embeddings or term weights of the documents, or both.

        Returns:
            Array or tensor, queries x documents.
        """
        return sum(self.per_view(queries, documents).values())

    def per_view(self, queries: Representation, documents: Representation) -> dict[str, Any]:
        """Return the weighted dense and sparse scores (each queries x documents), keyed ``dense`` and ``sparse``.

        Their sum is the similarity. The key ``dense`` is missing if the queries have no embeddings, and the key
        ``sparse`` if they have no term weights.
        """
        weights = (("dense", self.dense), ("sparse", self.sparse))
        queries, documents = self.for_inner_products(queries), self.for_inner_products(documents)
        return {
            view: weight * _inner_products(getattr(queries, view), getattr(documents, view))
            for view, weight in weights
            if getattr(queries, view) is not None
        }

    def pairwise(
        self, queries: Representation, documents: Representation, rows: np.ndarray, columns: np.ndarray
    ) -> np.ndarray:
        """Score pairs of one query and one document.

        Args:
            queries: Embeddings or term weights of the queries, or both; arrays, not tensors.
            documents: Embeddings or term weights of the documents, or both; arrays, not tensors.
            rows: For each pair, the row of its query in ``queries``, int64.
            columns: For each pair, the row of its document in ``documents``, int64.

        Returns:
            float32, one score for each pair.
        """
        queries, documents = self.for_inner_products(queries), self.for_inner_products(documents)
        scores = np.zeros(len(rows), np.float32)
        if queries.dense is not None:
            scores += self.dense * np.einsum("ij,ij->i", queries.dense[rows], documents.dense[columns])
        if queries.sparse is not None:
            products = queries.sparse[rows].multiply(documents.sparse[columns])
            scores += self.sparse * np.asarray(products.sum(axis=1)).ravel()
        return scores

    def for_inner_products(self, views: Representation) -> Representation:
        """Return representations whose inner products are the scores: L2-normalized embeddings if ``cosine`` is true.

        Args:
            views: Embeddings or term weights, or both; arrays or tensors.
        """
        if not self.cosine or views.dense is None:
            return views
        norms = (views.dense**2).sum(-1)[:, None] ** 0.5
        return views._replace(dense=views.dense / (norms + (norms == 0)))  # a vector of zeros stays one


def _to_representation(views: Any, argument: str) -> Representation:
    if isinstance(views, Representation):
        dense = None if views.dense is None else _dense(views.dense, argument)
        if views.sparse is not None and not hasattr(views.sparse, "tocsr"):
            raise _refused(argument, f"expected a sparse matrix of scipy, found {type(views.sparse).__name__}")
        return views._replace(dense=dense)
    if hasattr(views, "tocsr"):  # a sparse matrix of scipy, which is not imported here to save time
        return Representation(None, views.tocsr())
    return Representation(_dense(views, argument))


def _dense(values: Any, argument: str) -> np.ndarray:
    expected = "expected an array of numbers (texts x dim), a sparse matrix or a Representation, found"
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of different lengths, a tensor with gradients
        raise _refused(argument, f"{expected} {type(values).__name__} ({error})") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
        found = f"{type(values).__name__} of shape {array.shape} and type {array.dtype}"
        raise _refused(argument, f"{expected} {found}")
    return np.atleast_2d(array)


def _refused(argument: str, message: str) -> RecipeError:
    return RecipeError("similarity", [(argument, message)])


def _inner_products(queries: Any, documents: Any) -> Any:
    products = queries @ documents.T
    return products.toarray() if hasattr(products, "toarray") else products  # of scipy's matrices

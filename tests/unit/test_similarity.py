"""Similarity: calls with arrays, sparse matrices and representations, and their scores written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from encloze.data.records import Representation
from encloze.errors import RecipeError
from encloze.similarity import Similarity

RANDOM = np.random.default_rng(0)
QUERIES, DOCUMENTS = RANDOM.normal(size=(2, 4)).astype(np.float32), RANDOM.normal(size=(3, 4)).astype(np.float32)
SPARSE_QUERIES, SPARSE_DOCUMENTS = csr_matrix(np.maximum(QUERIES, 0)), csr_matrix(np.maximum(DOCUMENTS, 0))


def test_dense_scores_are_weighted_inner_products() -> None:
    scores = Similarity(dense=20.0)(QUERIES, DOCUMENTS)
    np.testing.assert_allclose(scores, 20 * QUERIES @ DOCUMENTS.T, rtol=1e-5)
    assert isinstance(scores, np.ndarray) and scores.shape == (2, 3)


def test_sparse_scores_are_a_dense_array() -> None:
    scores = Similarity(sparse=0.5)(SPARSE_QUERIES, SPARSE_DOCUMENTS.tocsc())
    np.testing.assert_allclose(scores, 0.5 * SPARSE_QUERIES.toarray() @ SPARSE_DOCUMENTS.toarray().T, rtol=1e-5)
    assert isinstance(scores, np.ndarray)


def test_scores_of_two_views_are_added() -> None:
    similarity = Similarity(2.0, 0.5)
    scores = similarity(Representation(QUERIES, SPARSE_QUERIES), Representation(DOCUMENTS, SPARSE_DOCUMENTS))
    expected = similarity(QUERIES, DOCUMENTS) + similarity(SPARSE_QUERIES, SPARSE_DOCUMENTS)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_one_vector_is_one_row() -> None:
    similarity = Similarity()
    assert similarity(QUERIES[0], DOCUMENTS).shape == (1, 3) and similarity(QUERIES[0], DOCUMENTS[0]).shape == (1, 1)
    assert similarity(QUERIES.tolist(), torch.from_numpy(DOCUMENTS)).shape == (2, 3)


def test_scores_of_tensors_and_of_pairs_are_the_same() -> None:
    similarity = Similarity(3.0, 0.25)
    tensors = (Representation(*(torch.from_numpy(v) for v in (v, np.maximum(v, 0)))) for v in (QUERIES, DOCUMENTS))
    arrays = (Representation(QUERIES, SPARSE_QUERIES), Representation(DOCUMENTS, SPARSE_DOCUMENTS))
    scores = similarity(*arrays)
    np.testing.assert_allclose(similarity.score(*tensors).numpy(), scores, rtol=1e-5)
    rows, columns = np.array([0, 1, 1]), np.array([2, 0, 2])
    np.testing.assert_allclose(similarity.pairwise(*arrays, rows, columns), scores[rows, columns], rtol=1e-5)


@pytest.mark.parametrize(
    ("queries", "documents", "message"),
    [
        (QUERIES, DOCUMENTS[:, :3], "queries have 4 dense dimensions, but documents have 3"),
        (QUERIES, SPARSE_DOCUMENTS, "queries have dense representations, but documents do not"),
        (
            SPARSE_QUERIES,
            Representation(DOCUMENTS, SPARSE_DOCUMENTS),
            "documents have dense representations, but queries do",
        ),
        (QUERIES[None], DOCUMENTS, r"expected an array of numbers .* found ndarray of shape \(1, 2, 4\)"),
        ("a river", DOCUMENTS, "queries: expected an array of numbers .* found str"),
        ([[1.0], [1.0, 2.0]], DOCUMENTS, "queries: expected an array of numbers .* found list"),
        (QUERIES, None, "documents: expected an array of numbers .* found NoneType"),
        (QUERIES, Representation("x", None), "documents: expected an array of numbers .* found str"),
        (Representation(None, "x"), SPARSE_DOCUMENTS, "queries: expected a sparse matrix of scipy, found str"),
    ],
)
def test_incompatible_inputs_are_refused(queries: object, documents: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Similarity()(queries, documents)

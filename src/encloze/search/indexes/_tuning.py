"""Choice of the search parameter of an approximate index that reaches a wanted recall at the lowest cost.

The queries are perturbed documents: the embedding of a document, moved away from its tenth neighbor by half of their
difference and scaled back to the norm of the document. The document itself does not count as a result. Queries of users
are harder than documents, because they are at the edge of the region of the documents and not in the middle of it.
``benchmarks/dense_search.py`` compares the recall of perturbed documents with that of real queries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from encloze.data.records import SearchResults
from encloze.search.exact_dense import search_exactly

DEPTH = 10
NUM_QUERIES = 1000
PERTURBATION = 0.5
"""Factor of the difference between a document and its tenth neighbor."""
_TOLERANCE = 1e-5
"""Relative difference between scores that count as equal, so that duplicates are interchangeable."""


class Tuned(NamedTuple):
    """A value of a search parameter, and the recall that it reaches."""

    value: int
    recall: float
    """Recall@10, from 0 to 1."""


def tune(
    search: Callable[[int, np.ndarray, int], SearchResults],
    embeddings: np.ndarray,
    target: float,
    largest: int,
    seed: int,
) -> Tuned:
    """Return the smallest value of a search parameter with which the recall reaches the target.

    Args:
        search: Function that searches with a value of the parameter. Its arguments are the value, the embeddings of
            queries, and the number of documents per query.
        embeddings: The embeddings of the documents, float32, ``(documents, dim)``; may be memory-mapped.
        target: The wanted recall@10, from 0 to 1.
        largest: Largest value to try.
        seed: Seed of the queries.

    Returns:
        The value and its recall. If no value reaches the target, the largest one.
    """
    queries, own = perturbed_documents(embeddings, NUM_QUERIES, seed)
    exact = _without(own, search_exactly(queries, embeddings, DEPTH + 1))
    tried: dict[int, float] = {}

    def reaches(value: int) -> bool:
        tried[value] = _recall(_without(own, search(value, queries, DEPTH + 1)), exact)
        return tried[value] >= target

    low, high = 0, 1  # low does not reach the target
    while not reaches(high):
        if high == largest:
            return Tuned(high, tried[high])
        low, high = high, min(2 * high, largest)
    while high - low > max(1, high // 32):  # finer steps change the recall less than the sample of queries does
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return Tuned(high, tried[high])


def perturbed_documents(embeddings: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings that resemble those of queries, and the numbers of the documents that they were made from.

    Args:
        embeddings: The embeddings of the documents, float32, ``(documents, dim)``; may be memory-mapped.
        count: Number of queries; fewer if there are fewer documents.
        seed: Seed of the choice of documents.

    Returns:
        The queries, float32, ``(queries, dim)``, and the numbers, ``(queries,)``.
    """
    draw = np.random.default_rng(seed)
    own = np.sort(draw.choice(len(embeddings), min(count, len(embeddings)), replace=False))
    documents = embeddings[own]
    tenth = embeddings[search_exactly(documents, embeddings, DEPTH + 1).numbers[:, -1]]
    queries = documents + PERTURBATION * (documents - tenth)
    scale = np.linalg.norm(documents, axis=1) / np.maximum(np.linalg.norm(queries, axis=1), 1e-12)
    return np.ascontiguousarray(queries * scale[:, None], np.float32), own


def _without(own: np.ndarray, results: SearchResults) -> np.ndarray:
    """Return the ten best scores of each query, without the document that the query was made from."""
    scores = np.where(results.numbers == own[:, None], -np.inf, results.scores)
    return -np.sort(-scores, axis=1)[:, :DEPTH]


def _recall(scores: np.ndarray, exact: np.ndarray) -> float:
    """Return the fraction of the found documents that score at least as high as the last one of the exact search."""
    last = exact[:, -1:]
    return float((scores >= last - _TOLERANCE * np.abs(last)).mean())

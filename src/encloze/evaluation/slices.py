"""Slices of a data set: subsets of its queries, defined by query words or by the length of relevant documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query

_FRACTION = 1 / 3


class Slice(NamedTuple):
    """Subset of the queries of a data set that share a property, such as few words."""

    name: str
    inside: np.ndarray
    """Boolean array of shape (queries,): True for each query in the slice."""
    rest: np.ndarray
    """Boolean array of shape (queries,): True for each query outside the slice. A query whose property is unknown is
    False both in ``inside`` and here."""


def query_slices(dataset: DatasetSplit, tokenize: Callable[[str], list[str]]) -> list[Slice]:
    """Return the slices of a data set, except those that contain no query or all queries.

    One slice contains the queries with at least one word that occurs in no document. Each other slice contains about a
    third of the queries (more if several queries are exactly at its threshold): those with the rarest words, the
    fewest words, the most words, the shortest relevant documents, or the longest relevant documents.

    Args:
        dataset: Split with documents, queries and judgments.
        tokenize: Function that returns the words of a text.

    Returns:
        The slices. If a slice has a threshold, such as a number of words, its name contains the threshold.
    """
    query_words = [tokenize(query.text) for query in dataset.queries]
    frequencies = _document_frequencies(dataset, {word for words in query_words for word in words}, tokenize)
    rarest = np.array(
        [min((frequencies[word] for word in words if frequencies[word]), default=np.nan) for words in query_words]
    )
    query_lengths = np.array([len(words) for words in query_words], float)
    document_lengths = _relevant_lengths(dataset, dataset.queries, tokenize)
    has_unseen = np.array([any(not frequencies[word] for word in words) for words in query_words])
    candidates = [
        _lowest("rare terms", rarest, "document frequency at most {:,.0f}"),
        Slice("unseen terms (in no document)", has_unseen, ~has_unseen),
        _lowest("short queries", query_lengths, "words: at most {:,.0f}"),
        _highest("long queries", query_lengths, "words: at least {:,.0f}"),
        _lowest("short relevant documents", document_lengths, "words: at most {:,.0f}"),
        _highest("long relevant documents", document_lengths, "words: at least {:,.0f}"),
    ]
    return [candidate for candidate in candidates if candidate.inside.any() and candidate.rest.any()]


def _document_frequencies(dataset: DatasetSplit, words: set[str], tokenize: Callable[[str], list[str]]) -> Counter[str]:
    """Count, for each word of ``words``, the documents of the corpus that contain the word."""
    frequencies, corpus = Counter[str](), dataset.corpus
    for text in progress.track(corpus.texts(), "Counting document frequencies", len(corpus), "documents"):
        frequencies.update(words & set(tokenize(text)))
    return frequencies


def _relevant_lengths(
    dataset: DatasetSplit, queries: Sequence[Query], tokenize: Callable[[str], list[str]]
) -> np.ndarray:
    """Return for each query the mean word count of its relevant documents; NaN if none of them is in the corpus."""
    corpus, lengths = dataset.corpus, list[float]()
    for query in queries:
        grades = dataset.judgments[query.id]
        numbers = [corpus.number_of[d] for d, grade in grades.items() if grade > 0 and d in corpus.number_of]
        counts = [len(tokenize(text)) for text in corpus.texts(numbers)]
        lengths.append(float(np.mean(counts)) if counts else np.nan)
    return np.array(lengths)


def _lowest(name: str, values: np.ndarray, description: str) -> Slice:
    threshold = _quantile(values, _FRACTION)
    return Slice(f"{name} ({description.format(threshold)})", values <= threshold, values > threshold)


def _highest(name: str, values: np.ndarray, description: str) -> Slice:
    threshold = _quantile(values, 1 - _FRACTION)
    return Slice(f"{name} ({description.format(threshold)})", values >= threshold, values < threshold)


def _quantile(values: np.ndarray, fraction: float) -> float:
    """Return the quantile ``fraction`` of ``values``: one of them, without interpolation. NaN values are ignored."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, fraction, method="nearest")) if len(known) else np.nan

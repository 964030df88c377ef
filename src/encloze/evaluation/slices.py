"""Slices of a data set's queries, by their words and by the documents they ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query

_SHARE = 1 / 3


class Slice(NamedTuple):
    """Some of the queries, and what they have in common."""

    name: str
    inside: np.ndarray
    """bool, queries."""
    rest: np.ndarray
    """bool, queries: the others, without those that it cannot be told of."""


def slices(dataset: DatasetSplit, words: Callable[[str], list[str]]) -> list[Slice]:
    """The slices of a data set that hold some of its queries and not all.

    Rare, short and long is the third of the queries that is most so, with those on its edge; ``words`` cuts a text.
    """
    asked = [words(query.text) for query in dataset.queries]
    often = _frequencies(dataset, {word for some in asked for word in some}, words)
    rarest = np.array([min((often[word] for word in some if often[word]), default=np.nan) for some in asked])
    lengths = np.array([len(some) for some in asked], float)
    sought = _sought(dataset, dataset.queries, words)
    unseen = np.array([any(not often[word] for word in some) for some in asked])
    found = [
        _lowest("rare terms", rarest, "document frequency at most {:,.0f}"),
        Slice("unseen terms (in no document)", unseen, ~unseen),
        _lowest("short queries", lengths, "words: at most {:,.0f}"),
        _highest("long queries", lengths, "words: at least {:,.0f}"),
        _lowest("short relevant documents", sought, "words: at most {:,.0f}"),
        _highest("long relevant documents", sought, "words: at least {:,.0f}"),
    ]
    return [some for some in found if some.inside.any() and some.rest.any()]


def _frequencies(dataset: DatasetSplit, wanted: set[str], words: Callable[[str], list[str]]) -> Counter[str]:
    """In how many documents each wanted word stands."""
    often, corpus = Counter[str](), dataset.corpus
    for text in progress.track(corpus.texts(), "Looking for rare words", len(corpus), "documents"):
        often.update(wanted & set(words(text)))
    return often


def _sought(dataset: DatasetSplit, queries: Sequence[Query], words: Callable[[str], list[str]]) -> np.ndarray:
    """How many words the relevant documents of each query have on average, NaN where none is there."""
    corpus, lengths = dataset.corpus, list[float]()
    for query in queries:
        grades = dataset.judgments[query.id]
        numbers = [corpus.number_of[d] for d, grade in grades.items() if grade > 0 and d in corpus.number_of]
        counts = [len(words(text)) for text in corpus.texts(numbers)]
        lengths.append(float(np.mean(counts)) if counts else np.nan)
    return np.array(lengths)


def _lowest(name: str, values: np.ndarray, says: str) -> Slice:
    edge = _quantile(values, _SHARE)
    return Slice(f"{name} ({says.format(edge)})", values <= edge, values > edge)


def _highest(name: str, values: np.ndarray, says: str) -> Slice:
    edge = _quantile(values, 1 - _SHARE)
    return Slice(f"{name} ({says.format(edge)})", values >= edge, values < edge)


def _quantile(values: np.ndarray, share: float) -> float:
    """The value that a share of them does not exceed; those that are NaN, of no query, do not count."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, share, method="nearest")) if len(known) else np.nan

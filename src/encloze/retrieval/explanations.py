"""Explanations of hits: the terms that match, the score and rank that each index gives, and the words to highlight."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from encloze.data.letters import WORD_PATTERN, combining_marks
from encloze.data.records import Representation
from encloze.retrieval.candidates import CandidatePool, encode_for_views
from encloze.retrieval.views import View
from encloze.search.engine_search import EngineBm25Searcher
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25Searcher

_OF_TEXT = (Bm25Searcher, EngineBm25Searcher)


@functools.cache
def _word() -> re.Pattern[str]:
    return re.compile(WORD_PATTERN.format(marks=combining_marks()))


class ViewExplanation(NamedTuple):
    """What one index contributes to a hit."""

    name: str
    """Name of the index, such as ``flat`` or ``bm25``."""
    score: float
    """The score that it gives the document."""
    rank: int | None
    """Rank of the document in the ranking of this index, from 1; None if it is below the candidates."""
    weight: float | None
    """Weight of the index in the fusion; None if the fusion has no weights, or if there is only one index."""
    terms: dict[str, float]
    """The part of the score that each term of the query contributes, highest first. Terms that the document does not
    contain are left out. Empty for an index of embeddings, whose scores have no such parts."""


class Explanation(NamedTuple):
    """Why a document is a hit."""

    views: tuple[ViewExplanation, ...]
    """What each index contributes."""
    score: float
    """Score before re-ranking: the fused score of all indexes."""
    rank: int
    """Rank before re-ranking, from 1."""
    words: tuple[tuple[int, int], ...]
    """Begin and end of each word of the text that matches a term of the query in a BM25 index, in characters."""


class Ranked(NamedTuple):
    """A document in the ranking before re-ranking."""

    number: int
    """Number of the document in the collection."""
    score: float
    """Its fused score."""
    rank: int
    """Its rank, from 1."""


def explanations_of(
    query: str,
    views: Sequence[View],
    fusion: Fusion,
    pool: CandidatePool,
    ranked: Sequence[Ranked],
    texts: Sequence[str],
) -> list[Explanation]:
    """Explain hits of a query.

    Args:
        query: Text of the query.
        views: The searched indexes.
        fusion: Combines their scores.
        pool: The candidates of the query, which contain all hits.
        ranked: The hits.
        texts: Their texts.
    """
    numbers = np.array([document.number for document in ranked], np.int64)
    columns = [int(np.flatnonzero(pool.numbers == number)[0]) for number in numbers]
    weights = _weights(fusion, len(views))
    with_terms = [view for view in views if view.index.input_type != "dense"]  # embeddings are not encoded again
    encoded = dict(zip((view.name for view in with_terms), encode_for_views(with_terms, [query]), strict=True))
    of_views = [_term_scores(view, encoded.get(view.name), numbers) for view in views]
    analyzed = [view.index for view in views if isinstance(view.index, _OF_TEXT)]
    explanations = []
    for place, (column, document, text) in enumerate(zip(columns, ranked, texts, strict=True)):
        parts = []
        for row, view in enumerate(views):
            rank, terms = pool.ranks[row, column], {t: float(s[place]) for t, s in of_views[row].items() if s[place]}
            ordered = dict(sorted(terms.items(), key=lambda term: -term[1]))
            found = int(rank) if np.isfinite(rank) else None
            parts.append(ViewExplanation(view.name, float(pool.scores[row, column]), found, weights[row], ordered))
        words = sorted({span for index in analyzed for span in _matching_words(query, text, index)})
        explanations.append(Explanation(tuple(parts), document.score, document.rank, tuple(words)))
    return explanations


def _weights(fusion: Fusion, count: int) -> list[float | None]:
    if count < 2 or not isinstance(fusion, Weighted):
        return [None] * count
    return list(fusion.weights or [1.0] * count)


def _term_scores(view: View, query: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores that each term of a query alone gives to documents: float32, (documents,)."""
    if isinstance(view.index, _OF_TEXT):
        counts = view.index.count(query[0])
        scores = view.index.score_terms([{term: count} for term, count in counts.items()], [numbers] * len(counts))
        return dict(zip(counts, scores, strict=True))
    if not isinstance(query, Representation) or view.index.input_type != "sparse" or view.encoder is None:
        return {}
    from scipy.sparse import csr_matrix

    weights = query.sparse
    terms, values, shape = weights.indices, weights.data, (len(weights.indices), weights.shape[1])
    alone = csr_matrix((values, terms, np.arange(len(terms) + 1)), shape)
    scores = view.index.score(Representation(sparse=alone), [numbers] * len(terms))
    return dict(zip(view.encoder.term_names(terms), scores, strict=True))


def _matching_words(query: str, text: str, index: Bm25Searcher | EngineBm25Searcher) -> list[tuple[int, int]]:
    """Return begin and end of the words of a text whose terms occur in a query."""
    terms = index.count(query)
    return [match.span() for match in _word().finditer(text) if not terms.keys().isdisjoint(index.count(match[0]))]

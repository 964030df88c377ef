"""Scores of candidates in mining, from the texts of the pairs or from an index of the whole corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.records import Query
from encloze.encoders.base import Encoder, Scorer
from encloze.retrieval.candidates import encode_for_views
from encloze.retrieval.index_building import build_views, exact_indexes
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.views import View
from encloze.storage.atomic import atomic_folder

ScoreCandidates = Callable[[Sequence[Query], Sequence[Sequence[str]]], list[np.ndarray]]
"""Function that takes queries and, for each, ids of documents, and returns the scores of the documents."""


def text_scores(corpus: Corpus, scorer: Scorer) -> ScoreCandidates:
    """Return a function that scores documents with a bi-encoder or a re-ranker."""

    def score(queries: Sequence[Query], documents: Sequence[Sequence[str]]) -> list[np.ndarray]:
        numbers = [corpus.number_of[document] for of_query in documents for document in of_query]
        repeated = [query.text for query, of_query in zip(queries, documents, strict=True) for _ in of_query]
        scores = scorer.score(list(zip(repeated, corpus.texts(numbers), strict=True)))
        return np.split(scores, np.cumsum([len(of_query) for of_query in documents])[:-1])

    return score


class MiningIndex:
    """Exact index of a corpus, for a bi-encoder that both ranks the candidates and scores them.

    Each document is encoded only once.

    Args:
        corpus: All documents.
        encoder: The bi-encoder.
        folder: Index folder. It is built if it does not exist.
    """

    def __init__(self, corpus: Corpus, encoder: Encoder, folder: Path) -> None:
        indexes = {index.name: index for index in exact_indexes(encoder)}
        if not folder.exists():
            with atomic_folder(folder) as staging:
                build_views(corpus, indexes, encoder, staging)
        views = [View(name, index.open(folder / name), encoder) for name, index in indexes.items()]
        self._corpus, self._views = corpus, views
        self.retriever = Retriever(corpus, views)

    def score(self, queries: Sequence[Query], documents: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the bi-encoder's scores of documents for each query (see ``ScoreCandidates``)."""
        numbers = [np.array([self._corpus.number_of[id_] for id_ in of_query], np.int64) for of_query in documents]
        encoded = encode_for_views(self._views, [query.text for query in queries])
        of_views = [view.index.score(rows, numbers) for view, rows in zip(self._views, encoded, strict=True)]
        weights = [view.weight for view in self._views]
        return [
            np.sum([weight * scores for weight, scores in zip(weights, of_query, strict=True)], axis=0)
            for of_query in zip(*of_views, strict=True)
        ]

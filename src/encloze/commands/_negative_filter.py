"""Select hard negatives: reject relevant documents, and documents with nearly the same text or score as these."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from encloze.commands._mining_scores import ScoreCandidates
from encloze.data.corpus import Corpus
from encloze.data.records import Query
from encloze.data.shingles import max_similarity, shingle_hashes
from encloze.data.words import split_words

RELEVANT, NEAR_DUPLICATE = "relevant", "near-duplicate of a relevant document"
ABOVE_MARGIN = "scored within the margin of a relevant document"
_MAX_SHINGLES = 2**24  # 128 MiB


class MinedNegatives(NamedTuple):
    """Ids of one query's negatives, highest ranked first, and the number of rejected candidates for each reason."""

    query: str
    negatives: list[str]
    dropped: dict[str, int]


class CorpusShingles:
    """The ``shingle_hashes`` of documents by id, kept in memory up to a limit."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus, self._kept, self._count = corpus, dict[str, np.ndarray](), 0

    def read(self, ids: Iterable[str]) -> None:
        """Compute the shingles of documents that are not in memory. Many at a time are read much faster than one."""
        if self._count > _MAX_SHINGLES:
            self._kept, self._count = {}, 0
        new = [id_ for id_ in ids if id_ not in self._kept]
        texts = self._corpus.texts(self._corpus.number_of.find(new))
        for id_, text in zip(new, texts, strict=True):
            self._kept[id_] = shingle_hashes(split_words(text))
            self._count += len(self._kept[id_])

    def __getitem__(self, id_: str) -> np.ndarray:
        if id_ not in self._kept:
            self.read([id_])
        return self._kept[id_]


@dataclass(frozen=True)
class NegativeFilter:
    """Selects each query's negatives from its ranked candidates (see ``mine``)."""

    corpus: Corpus
    """All documents of the data set, including the candidates."""
    relevant: dict[str, list[str]]
    """Ids of the relevant documents of each query."""
    num_negatives: int
    near_duplicate_threshold: float | None
    """Minimum Jaccard similarity to a relevant document at which a candidate is rejected; None disables this filter."""
    score_candidates: ScoreCandidates | None
    """Function whose scores are compared by absolute_margin and relative_margin; None if neither margin is set."""
    absolute_margin: float | None
    relative_margin: float | None

    def select(self, queries: Sequence[Query], candidates: Sequence[list[str]]) -> Iterator[MinedNegatives]:
        """Yield the negatives of each query: the first ``num_negatives`` of its candidates that pass all filters.

        Candidates that are not in the corpus are ignored.
        """
        candidates = self._known(candidates)
        scores = self._score(queries, candidates)
        if self.near_duplicate_threshold is not None:
            compared = (
                (*self.relevant[query.id], *ids[: self.num_negatives])
                for query, ids in zip(queries, candidates, strict=True)
            )
            self._shingles.read(dict.fromkeys(itertools.chain.from_iterable(compared)))
        for query, query_candidates, query_scores in zip(queries, candidates, scores, strict=True):
            yield self._select_for(query, query_candidates, query_scores)

    def _select_for(self, query: Query, candidates: list[str], scores: dict[str, float]) -> MinedNegatives:
        """Return the negatives of one query.

        ``scores`` holds the scorer's score of each candidate and relevant document; it is empty without a scorer.
        """
        dropped, negatives = Counter[str](), list[str]()
        relevant, threshold = self.relevant[query.id], self.near_duplicate_threshold
        limit = self._score_limit([scores[document] for document in relevant]) if scores else None
        shingles = self._shingles
        of_relevant = [shingles[document] for document in relevant] if threshold else []
        relevant_ids = set(relevant)
        for document in candidates:
            if len(negatives) == self.num_negatives:
                break
            if document in relevant_ids:
                dropped[RELEVANT] += 1
            elif limit is not None and scores[document] >= limit:
                dropped[ABOVE_MARGIN] += 1
            elif threshold and max_similarity(shingles[document], of_relevant, threshold) >= threshold:
                dropped[NEAR_DUPLICATE] += 1
            else:
                negatives.append(document)
        return MinedNegatives(query.id, negatives, dict(dropped))

    def _known(self, candidates: Sequence[list[str]]) -> list[list[str]]:
        """Return the candidates that are in the corpus."""
        ids = [document for of_query in candidates for document in of_query]
        unknown = {ids[position] for position in np.flatnonzero(self.corpus.number_of.find(ids) < 0).tolist()}
        return [[document for document in of_query if document not in unknown] for of_query in candidates]

    @cached_property
    def _shingles(self) -> CorpusShingles:
        return CorpusShingles(self.corpus)

    def _score(self, queries: Sequence[Query], candidates: Sequence[list[str]]) -> list[dict[str, float]]:
        """Return for each query the scores of its relevant documents and candidates, by document id.

        Without a scorer, the dictionaries are empty.
        """
        if self.score_candidates is None:
            return [{} for _ in queries]
        documents = [
            list(dict.fromkeys([*self.relevant[query.id], *query_candidates]))
            for query, query_candidates in zip(queries, candidates, strict=True)
        ]
        scores = self.score_candidates(queries, documents)
        return [dict(zip(ids, values.tolist(), strict=True)) for ids, values in zip(documents, scores, strict=True)]

    def _score_limit(self, relevant_scores: list[float]) -> float:
        """Return the score that all negatives of a query must be below.

        It is the lowest score of a relevant document minus the margin. The margin is ``absolute_margin``, or
        ``relative_margin`` times the absolute value of that score; if both are set, the larger of these two values.
        """
        lowest = min(relevant_scores)
        limits = [lowest - self.absolute_margin] if self.absolute_margin is not None else []
        if self.relative_margin is not None:
            limits.append(lowest - abs(lowest) * self.relative_margin)
        return min(limits)

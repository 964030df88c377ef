"""Select hard negatives: reject relevant documents, and documents with nearly the same text or score as these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from encloze.commands._mining_scores import ScoreCandidates
from encloze.data.corpus import Corpus
from encloze.data.duplicates import ShingleSets
from encloze.data.records import Query

RELEVANT, NEAR_DUPLICATE = "relevant", "near-duplicate of a relevant document"
ABOVE_MARGIN = "scored within the margin of a relevant document"


class MinedNegatives(NamedTuple):
    """Ids of one query's negatives, highest ranked first, and the number of rejected candidates for each reason."""

    query: str
    negatives: list[str]
    dropped: dict[str, int]


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
        """Yield the negatives of each query: the first ``num_negatives`` of its candidates that pass all filters."""
        scores = self._score(queries, candidates)
        for query, query_candidates, query_scores in zip(queries, candidates, scores, strict=True):
            yield self._select_for(query, query_candidates, query_scores)

    def _select_for(self, query: Query, candidates: list[str], scores: dict[str, float]) -> MinedNegatives:
        """Return the negatives of one query.

        ``scores`` holds the scorer's score of each candidate and relevant document; it is empty without a scorer.
        """
        dropped, negatives = Counter[str](), list[str]()
        relevant, threshold = self.relevant[query.id], self.near_duplicate_threshold
        limit = self._score_limit([scores[document] for document in relevant]) if scores else None
        relevant_shingles = ShingleSets(self._texts(relevant)) if threshold is not None else None
        relevant_ids = set(relevant)
        for document in candidates:
            if len(negatives) == self.num_negatives:
                break
            if document in relevant_ids:
                dropped[RELEVANT] += 1
            elif limit is not None and scores[document] >= limit:
                dropped[ABOVE_MARGIN] += 1
            elif (
                relevant_shingles is not None
                and threshold is not None
                and relevant_shingles.max_similarity(self._texts([document])[0]) >= threshold
            ):
                dropped[NEAR_DUPLICATE] += 1
            else:
                negatives.append(document)
        return MinedNegatives(query.id, negatives, dict(dropped))

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

    def _texts(self, documents: Iterable[str]) -> list[str]:
        """Return the texts (title first) of the documents with the given ids."""
        return list(self.corpus.texts([self.corpus.number_of[document] for document in documents]))

"""Search in several segments of an index as if they were one index, without the documents that were deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.exact_dense import best_of

Queries = TypeVar("Queries", contravariant=True)


class Searcher(Protocol[Queries]):
    """Protocol of the searcher over a segment: an ``IndexSearcher``, or one that takes queries in another form."""

    @property
    def num_documents(self) -> int: ...
    @property
    def dim(self) -> int | None: ...
    def search(self, queries: Queries, depth: int, allowed: np.ndarray | None = None) -> SearchResults: ...
    def score(self, queries: Queries, numbers: list[np.ndarray]) -> list[np.ndarray]: ...


class SegmentedSearcher:
    """Searcher over the indexes of several segments. Documents that were deleted have no number.

    The other documents are numbered from 0 through all segments, so that they have the same numbers as in an index that
    is built from them at once.

    Attributes:
        input_type: Input type of the index.
        num_documents: Number of documents that were not deleted.
        dim: Number of dimensions of the representations; None for texts.
    """

    def __init__(
        self,
        parts: Sequence[Searcher[Any]],
        live: Sequence[np.ndarray | None],
        input_type: Literal["text", "dense", "sparse"],
    ) -> None:
        """Create a searcher.

        Args:
            parts: The index of each segment.
            live: Which documents of each segment have not been deleted (see ``Segment``).
            input_type: Input type of the index.
        """
        self.input_type: Literal["text", "dense", "sparse"] = input_type
        self._parts, self._live = parts, live
        self._rows = [None if mask is None else np.flatnonzero(mask) for mask in live]
        sizes = [
            part.num_documents if rows is None else len(rows) for part, rows in zip(parts, self._rows, strict=True)
        ]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.num_documents: int = int(self._starts[-1])
        self.dim: int | None = parts[0].dim

    def search(self, queries: Any, depth: int, allowed: np.ndarray | None = None) -> SearchResults:
        """Return the ``depth`` best documents of each query (see ``IndexSearcher.search``)."""
        if len(self._parts) == 1 and self._rows[0] is None:
            return self._parts[0].search(queries, depth, allowed)
        num_queries = queries.num_texts if isinstance(queries, Representation) else len(queries)
        numbers, scores = np.empty((num_queries, 0), np.int64), np.empty((num_queries, 0), np.float32)
        for place, part in enumerate(self._parts):
            mask = self._mask(place, allowed)
            if mask is not None and not mask.any():
                continue
            found = part.search(queries, depth, mask)
            numbers = np.hstack([numbers, self._numbers(place, found.numbers)])
            scores = np.hstack([scores, found.scores])
        return best_of(numbers, scores, depth)

    def score(self, queries: Any, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query (see ``IndexSearcher.score``)."""
        scores = [np.zeros(len(of_query), np.float32) for of_query in numbers]
        for place, part in enumerate(self._parts):
            start, end = self._starts[place : place + 2]
            positions = [np.flatnonzero((of_query >= start) & (of_query < end)) for of_query in numbers]
            rows = self._rows[place]
            inside = [of_query[chosen] - start for of_query, chosen in zip(numbers, positions, strict=True)]
            if rows is not None:
                inside = [rows[of_query] for of_query in inside]
            for of_query, chosen, values in zip(scores, positions, part.score(queries, inside), strict=True):
                of_query[chosen] = values
        return scores

    def _mask(self, place: int, allowed: np.ndarray | None) -> np.ndarray | None:
        """Return which documents of a segment may be returned; None for all."""
        rows = self._rows[place]
        if allowed is None:
            return self._live[place]
        of_segment = allowed[self._starts[place] : self._starts[place + 1]]
        if rows is None:
            return of_segment
        mask = np.zeros(self._parts[place].num_documents, np.bool_)
        mask[rows] = of_segment
        return mask

    def _numbers(self, place: int, found: np.ndarray) -> np.ndarray:
        """Return the numbers of documents of a segment, -1 for none, as numbers of all segments."""
        rows = self._rows[place]
        inside = found if rows is None else np.searchsorted(rows, found)
        return np.where(found < 0, -1, inside + self._starts[place])

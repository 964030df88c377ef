"""BM25 search with pseudo-relevance feedback: terms of the best documents of a first search are added to the query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.expansions.base import Expansion, FeedbackDocument, TermWeights
from encloze.search.indexes.bm25 import Bm25Searcher


class ExpandedSearcher:
    """BM25 searcher that adds terms of the best documents of a first search to each query, and searches again.

    An expanded query also finds documents that contain no word of the original query.

    Args:
        searcher: The opened BM25 index.
        expansion: The expansion method.
        read_texts: Function that returns the texts of documents from their document numbers.

    Example:
        >>> from encloze.search.expansions.rm3 import Rm3
        >>> from encloze.search.indexes.bm25 import Bm25
        >>> texts = ["rivers flow into the sea", "the sea is salty", *18 * ["engines need fuel"]]
        >>> Bm25().build(texts, folder)
        >>> searcher = ExpandedSearcher(Bm25().open(folder), Rm3(), lambda numbers: [texts[n] for n in numbers])
        >>> searcher.search(["rivers"], depth=2).numbers
        array([[0, 1]])
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    def __init__(
        self, searcher: Bm25Searcher, expansion: Expansion, read_texts: Callable[[np.ndarray], Iterable[str]]
    ) -> None:
        self._searcher, self._expansion, self._read_texts = searcher, expansion, read_texts
        self.num_documents: int = searcher.num_documents
        self.dim: int | None = None

    def search(
        self, queries: Sequence[str] | Representation, depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Expand the queries, and return the ``depth`` best documents of each query (see ``IndexSearcher.search``)."""
        return self._searcher.search_terms(self.expand(queries, allowed), depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Expand the queries, and return the scores of the documents ``numbers`` (see ``IndexSearcher.score``)."""
        return self._searcher.score_terms(self.expand(queries), numbers)

    def expand(self, queries: Sequence[str] | Representation, allowed: np.ndarray | None = None) -> list[TermWeights]:
        """Return the terms of each expanded query with their weights; terms are taken from allowed documents."""
        if isinstance(queries, Representation):
            raise TypeError("an expanded BM25 search takes a list of texts, not a Representation")
        term_counts = [self._searcher.count(query) for query in queries]
        first_pass = self._searcher.search_terms(term_counts, self._expansion.feedback_documents, allowed)
        expanded = []
        for counts, numbers, scores in zip(term_counts, first_pass.numbers, first_pass.scores, strict=True):
            hits = numbers[numbers >= 0]
            feedback = [
                FeedbackDocument(self._searcher.count(text), float(score))
                for text, score in zip(self._read_texts(hits), scores[: len(hits)], strict=True)
            ]
            expanded.append(self._expansion.expand(counts, feedback, self._searcher.df_ratio))
        return expanded

"""A BM25 index that reads its first hits and asks again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np

from encloze.data.records import Ranked, Representation
from encloze.search.expansions.base import Expansion, Feedback, Words
from encloze.search.indexes.bm25 import OpenBm25


class Expanded:
    """It finds what the expanded query finds, also documents that have no word of the query itself."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    def __init__(self, index: OpenBm25, expansion: Expansion, texts: Callable[[np.ndarray], Iterable[str]]) -> None:
        """``texts`` gives those of documents by their numbers."""
        self._index, self._expansion, self._texts = index, expansion, texts

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        return self._index.search_words(self._expand(queries), depth)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        return self._index.score_words(self._expand(queries), numbers)

    def _expand(self, queries: Sequence[str] | Representation) -> list[Words]:
        asked = [self._index.count(str(query)) for query in queries]
        first = self._index.search_words(asked, self._expansion.documents)
        expanded = []
        for words, numbers, scores in zip(asked, first.numbers, first.scores, strict=True):
            found = numbers[numbers >= 0]
            texts = map(self._index.count, self._texts(found))
            feedback = [Feedback(text, float(score)) for text, score in zip(texts, scores[: len(found)], strict=True)]
            expanded.append(self._expansion.expand(words, feedback, self._index.share))
        return expanded

"""BM25 (Robertson and Zaragoza, 2009) with bm25s, in Lucene's variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from encloze.data.records import Ranked, Representation
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.plain import Plain
from encloze.search.indexes.base import Index


@dataclass(frozen=True)
class Bm25(Index, name="bm25"):
    """Counts of the query's words, weighted by their rarity and the document's length."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    k1: float = 1.2
    """How fast repetitions of a word lose weight, from 0 (at once)."""
    b: float = 0.75
    """How much long documents are held back, from 0 (not at all) to 1."""
    analyzer: Analyzer = field(default_factory=Plain)
    """What counts as a word."""

    def __post_init__(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ValueError(f"k1 must be 0 or more and b from 0 to 1, not {self.k1} and {self.b}")

    def build(self, documents: Iterable[str] | Representation, folder: Path) -> None:
        if isinstance(documents, Representation):
            raise TypeError("a bm25 index is built from texts")
        self.built(Counted.of(documents, self.analyzer))._core.save(folder, show_progress=False)

    def built(self, counted: Counted) -> OpenBm25:
        """The index of documents whose words are counted already, in memory."""
        import bm25s

        core = bm25s.BM25(method="lucene", k1=self.k1, b=self.b)
        core.index((counted.words, counted.vocabulary), show_progress=False)
        return OpenBm25(core, self.analyzer)

    def open(self, folder: Path) -> OpenBm25:
        import bm25s

        return OpenBm25(bm25s.BM25.load(folder, mmap=True, load_vocab=True), self.analyzer)


@dataclass(frozen=True)
class Counted:
    """Documents as numbers of words, from which BM25 is built with any k1 and b."""

    words: list[list[int]]
    vocabulary: dict[str, int]

    @classmethod
    def of(cls, documents: Iterable[str], analyzer: Analyzer) -> Counted:
        vocabulary: dict[str, int] = {}
        words = [[vocabulary.setdefault(word, len(vocabulary)) for word in analyzer.words(text)] for text in documents]
        if not vocabulary:  # bm25s wants one word in one document; no query has this one
            vocabulary[""], words[:1] = 0, [[0]]
        return cls(words, vocabulary)


class OpenBm25:
    """A BM25 index that can be asked."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    def __init__(self, core: Any, analyzer: Analyzer) -> None:
        self._core, self._analyzer = core, analyzer

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        found = [_best(scores, depth) for scores in self._all_scores(queries)]
        return Ranked(np.stack([numbers for numbers, _ in found]), np.stack([scores for _, scores in found]))

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        return [scores[candidates] for scores, candidates in zip(self._all_scores(queries), numbers, strict=True)]

    def _all_scores(self, queries: Sequence[str] | Representation) -> Iterable[np.ndarray]:
        """The scores of all documents for each query in turn: float32, documents."""
        vocabulary = self._core.vocab_dict
        for query in queries:
            # A repeated word of the query counts as often as it stands there, as in Lucene.
            words = [vocabulary[word] for word in self._analyzer.words(str(query)) if word in vocabulary]
            if words:
                yield self._core.get_scores_from_ids(words)
            else:
                yield np.zeros(self._core.scores["num_docs"], np.float32)


def _best(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores of the best documents above 0, filled up with -1; equal scores by number."""
    depth = min(depth, len(scores))
    least = np.partition(scores, -depth)[-depth]
    chosen = np.flatnonzero((scores >= least) & (scores > 0))
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")[:depth]]
    numbers, values = np.full(depth, -1, np.int64), np.zeros(depth, np.float32)
    numbers[: len(chosen)], values[: len(chosen)] = chosen, scores[chosen]
    return numbers, values

"""BM25 (Robertson and Zaragoza, 2009) in Lucene's variant, over counts of words that are mapped and not held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from encloze.data.records import Ranked, Representation
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.unicode import Unicode
from encloze.search.indexes._growing import Growing
from encloze.search.indexes._postings import OpenPostings, Postings, PostingsWriter, Terms
from encloze.search.indexes.base import Index
from encloze.storage.json_files import read_json, write_json

_WORDS, _LENGTHS = "words.json", "lengths.npy"
_TEXTS = 1024  # counted at a time


@dataclass(frozen=True)
class Bm25(Index, name="bm25"):
    """Counts of the query's words, weighted by their rarity and the document's length.

    Counts are kept, so that an index may be opened with another k1 and b than it was built with.
    """

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    k1: float = 1.2
    """How fast repetitions of a word lose weight, from 0 (at once)."""
    b: float = 0.75
    """How much long documents are held back, from 0 (not at all) to 1."""
    analyzer: Analyzer = field(default_factory=Unicode)
    """What counts as a word."""

    def __post_init__(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ValueError(f"k1 must be 0 or more and b from 0 to 1, not {self.k1} and {self.b}")

    def builder(self, folder: Path) -> Bm25Builder:
        return Bm25Builder(folder, self.analyzer)

    def open(self, folder: Path) -> OpenBm25:
        words = {word: number for number, word in enumerate(read_json(folder / _WORDS))}
        return OpenBm25(self, Postings.open(folder), np.load(folder / _LENGTHS), words)


class Bm25Builder:
    """Counts the words of documents."""

    def __init__(self, folder: Path, analyzer: Analyzer) -> None:
        self._folder, self._analyzer, self._documents = folder, analyzer, 0
        self._postings, self._lengths = PostingsWriter(folder), Growing(folder / _LENGTHS, np.int32)
        self._words: dict[str, int] = {}

    def add(self, documents: Iterable[str] | Representation) -> None:
        if isinstance(documents, Representation):
            raise TypeError("a bm25 index is built from texts")
        texts, words = iter(documents), self._words
        while part := list(islice(texts, _TEXTS)):
            counts = [
                Counter(words.setdefault(word, len(words)) for word in self._analyzer.words(text)) for text in part
            ]
            rows = np.repeat(self._documents + np.arange(len(part)), [len(count) for count in counts])
            terms, frequencies = (
                np.fromiter((value for count in counts for value in getattr(count, what)()), np.int64, len(rows))
                for what in ("keys", "values")
            )
            self._postings.add(rows, terms, frequencies)
            self._lengths.append(np.array([count.total() for count in counts]))
            self._documents += len(part)

    def finish(self) -> None:
        self._postings.finish(len(self._words))
        self._lengths.close()
        write_json(self._folder / _WORDS, list(self._words))


class OpenBm25:
    """A BM25 index that can be asked."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    def __init__(self, settings: Bm25, postings: Postings, lengths: np.ndarray, words: dict[str, int]) -> None:
        self._analyzer, self._words = settings.analyzer, words
        documents, holding = len(lengths), np.diff(postings.begins)
        self._rarity = np.log(1 + (documents - holding + 0.5) / (holding + 0.5)).astype(np.float32)
        self._shares = holding / max(1, documents)
        relative = lengths / max(lengths.mean(), 1e-9)
        self._against = (settings.k1 * (1 - settings.b + settings.b * relative)).astype(np.float32)
        self._open = OpenPostings(postings, documents, self._weights)

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        return self.search_words([self.count(str(query)) for query in queries], depth)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        return self.score_words([self.count(str(query)) for query in queries], numbers)

    def search_words(self, queries: Sequence[Mapping[str, float]], depth: int) -> Ranked:
        """The best documents for weighted words."""
        return self._open.search(self._terms(queries), depth)

    def score_words(self, queries: Sequence[Mapping[str, float]], numbers: list[np.ndarray]) -> list[np.ndarray]:
        """The scores of given documents for weighted words."""
        return self._open.score(self._terms(queries), numbers)

    def count(self, text: str) -> Counter[str]:
        """The words of a text; a repeated one of a query counts as often as it stands there, as in Lucene."""
        return Counter(self._analyzer.words(text))

    def share(self, word: str) -> float:
        """The share of the documents that have a word."""
        return float(self._shares[self._words[word]]) if word in self._words else 0.0

    def _weights(self, term: int, documents: np.ndarray, counts: np.ndarray) -> np.ndarray:
        weights: np.ndarray = self._rarity[term] * counts / (counts + self._against[documents])
        return weights

    def _terms(self, queries: Sequence[Mapping[str, float]]) -> list[Terms]:
        """The known words of each query."""
        return [[(self._words[word], n) for word, n in query.items() if word in self._words] for query in queries]

"""BM25 (Robertson and Zaragoza, 2009) with Lucene's formula, over memory-mapped term frequencies.

The implementation does not use bm25s, which builds the index in memory and stores scores for fixed k1 and b.
``benchmarks/bm25.py`` and ``benchmarks/postings.py`` compare both: this one builds an index as fast as bm25s,
needs a third of the memory, and searches large collections faster, because it skips postings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np

from encloze import recipe
from encloze.data.records import Representation, SearchResults
from encloze.search.analyzers._by_language import analyzer_for
from encloze.search.analyzers.base import Analyzer
from encloze.search.indexes.base import Growth, Index
from encloze.search.npy_files import AppendableArray, damaged, map_array
from encloze.search.postings import Postings, PostingsWriter
from encloze.search.postings_search import PostingsSearcher, QueryTerms
from encloze.search.segment import Opened, Segment, open_once
from encloze.search.segments import SegmentedSearcher
from encloze.settings import plain
from encloze.storage.json_files import read_json, write_json

_TERMS, _LENGTHS, _ANALYZER = "words.json", "lengths.npy", "analyzer.json"
_BATCH = 1024  # documents analyzed at a time
_SEARCH_GROWTH = 0.7  # exponent of the time of a search, which skips postings, in benchmarks/results/postings.json


@dataclass(frozen=True)
class Bm25(Index, name="bm25"):
    """BM25 index. It stores term frequencies, so k1 and b can be changed when an index is opened.

    Example:
        >>> Bm25().build(["rivers flow into the sea", "engines need fuel"], folder)
        >>> results = Bm25(k1=0.9, b=0.4).open(folder).search(["river engines"], depth=10)
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    k1: float = 1.2
    """Term frequency saturation, 0 or more; with 0, the frequency of a term is ignored."""
    b: float = 0.75
    """Document length normalization, from 0 (none) to 1 (full)."""
    analyzer: Analyzer | None = None
    """Analyzer that splits documents and queries into terms. By default stemmed if at least 80 % of a
    sample of the documents are in one language that has a stemmer, hebrew for Hebrew, otherwise unicode."""

    def __post_init__(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ValueError(f"k1 must be 0 or more and b from 0 to 1, not {self.k1} and {self.b}")

    def growth(self, documents: int, dim: int) -> Growth:
        """Return what the costs follow (see ``Index.growth``): searches of large indexes skip most postings."""
        return Growth(documents, documents**_SEARCH_GROWTH)

    def with_defaults(self, texts: Callable[[], Sequence[str]]) -> Self:
        """Return the settings; an analyzer that is not set is chosen by the language (see ``Index.with_defaults``)."""
        return self if self.analyzer else replace(self, analyzer=analyzer_for(texts()))

    def builder(self, folder: Path) -> Bm25Builder:
        """Return a builder that writes a new index into an existing empty folder."""
        if self.analyzer is None:
            raise ValueError("the analyzer of a BM25 index is not set. Set it, or call with_defaults")
        return Bm25Builder(folder, self.analyzer)

    def open(self, folder: Path) -> Bm25Searcher:
        """Return a searcher over the index in ``folder``, with the analyzer that built the index.

        Raises:
            ValueError: The analyzer of the settings is not the one that built the index.
        """
        return self.open_segments([Segment(folder)])

    def open_segments(self, segments: Sequence[Segment], opened: Opened | None = None) -> Bm25Searcher:
        """Return a searcher over the indexes of several segments, with document frequencies of all of them."""
        analyzers = [self._analyzer_of(segment.folder) for segment in segments]
        loaded = open_once(segments, _load, opened)
        return Bm25Searcher(replace(self, analyzer=analyzers[0]), loaded, [segment.live for segment in segments])

    def _analyzer_of(self, folder: Path) -> Analyzer:
        """Return the analyzer that built an index. Raise ValueError if the settings name another one."""
        stored = read_json(folder / _ANALYZER)
        if self.analyzer and plain(self.analyzer) != stored:
            names = " ".join(map(str, stored.values()))
            raise ValueError(
                f"the index was built with the analyzer {names}, which cannot be changed. Leave out analyzer, or build "
                "the index again"
            )
        source = str(folder / _ANALYZER)
        analyzer: Analyzer = self.analyzer or recipe.coerce(Analyzer, stored, source=source, name="analyzer")
        return analyzer


class Bm25Builder:
    """Builder of a BM25 index."""

    def __init__(self, folder: Path, analyzer: Analyzer) -> None:
        self._folder, self._analyzer, self._num_documents = folder, analyzer, 0
        self._postings, self._lengths = PostingsWriter(folder), AppendableArray(folder / _LENGTHS, np.int32)
        self._term_numbers: dict[str, int] = {}

    def add(self, documents: Iterable[str] | Representation) -> None:
        """Add the texts of documents. Raises TypeError for embeddings or term weights."""
        texts, term_numbers = iter(_require_texts(documents)), self._term_numbers
        while batch := list(islice(texts, _BATCH)):
            counts = [
                Counter(term_numbers.setdefault(term, len(term_numbers)) for term in self._analyzer.words(text))
                for text in batch
            ]
            rows = np.repeat(self._num_documents + np.arange(len(batch)), [len(count) for count in counts])
            terms = np.fromiter((term for count in counts for term in count), np.int64, len(rows))
            frequencies = np.fromiter((n for count in counts for n in count.values()), np.int64, len(rows))
            self._postings.add(rows, terms, frequencies)
            self._lengths.append(np.array([count.total() for count in counts]))
            self._num_documents += len(batch)

    def finish(self) -> None:
        """Write the index."""
        self._postings.finish(len(self._term_numbers))
        self._lengths.close()
        write_json(self._folder / _TERMS, list(self._term_numbers))
        write_json(self._folder / _ANALYZER, plain(self._analyzer))


class _Loaded(NamedTuple):
    """The content of the files of a BM25 index."""

    lengths: np.ndarray  # int32, (documents,)
    lists: Postings
    term_numbers: dict[str, int]


def _load(folder: Path) -> _Loaded:
    """Read the files of a BM25 index. Raises CheckpointError if they are damaged."""
    lengths = np.array(map_array(folder / _LENGTHS, np.int32))
    if (lengths < 0).any():
        raise damaged(folder / _LENGTHS, "it contains negative lengths")
    lists, terms = Postings.open(folder, len(lengths), positive=True), read_json(folder / _TERMS, list[str])
    term_numbers = {term: number for number, term in enumerate(terms)}
    if not len(term_numbers) == len(terms) == len(lists.offsets) - 1:
        raise damaged(folder / _TERMS, f"expected {len(lists.offsets) - 1} distinct terms")
    return _Loaded(lengths, lists, term_numbers)


class _Part:
    """BM25 index of a segment. A query is a mapping of terms to weights, which include the inverse document frequency.

    Args:
        loaded: The content of its files.
        live: Which of its documents have not been deleted (see ``Segment``).
        length_norms: Length norms of its documents (see ``PostingsSearcher``).
    """

    def __init__(self, loaded: _Loaded, live: np.ndarray | None, length_norms: np.ndarray) -> None:
        self._lists, self._term_numbers, self._live = loaded.lists, loaded.term_numbers, live
        self.num_documents, self.dim = len(loaded.lengths), None
        self._postings = PostingsSearcher(loaded.lists, self.num_documents, length_norms)

    def document_frequency(self, term: str) -> int:
        """Return the number of documents that contain a term and have not been deleted."""
        if (number := self._term_numbers.get(term)) is None:
            return 0
        documents, _ = self._lists.of_term(number)
        return len(documents) if self._live is None else int(np.count_nonzero(self._live[documents]))

    def search(
        self, queries: Sequence[Mapping[str, float]], depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        return self._postings.search(self._query_terms(queries), depth, allowed)

    def score(self, queries: Sequence[Mapping[str, float]], numbers: list[np.ndarray]) -> list[np.ndarray]:
        return self._postings.score(self._query_terms(queries), numbers)

    def _query_terms(self, queries: Sequence[Mapping[str, float]]) -> list[QueryTerms]:
        """Return pairs (term number, weight) for each query. Terms that are not in the index are left out."""
        numbers = self._term_numbers
        return [[(numbers[term], weight) for term, weight in query.items() if term in numbers] for query in queries]


class Bm25Searcher:
    """Searcher over a BM25 index.

    The score of a document is the sum over query terms of ``idf * tf / (tf + length_norm)``, with
    ``length_norm = k1 * (1 - b + b * length / average_length)``. Lucene's constant factor ``k1 + 1`` is omitted, as in
    Lucene since version 8.
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    def __init__(self, settings: Bm25, loaded: Sequence[_Loaded], live: Sequence[np.ndarray | None]) -> None:
        assert settings.analyzer is not None  # Bm25.open_segments sets it
        self._analyzer, self._document_frequencies = settings.analyzer, dict[str, int]()
        left = [one.lengths if mask is None else one.lengths[mask] for one, mask in zip(loaded, live, strict=True)]
        average_length = sum(int(one.sum(dtype=np.int64)) for one in left) / max(1, sum(map(len, left)))
        self._parts = []
        for one, mask in zip(loaded, live, strict=True):
            relative_lengths = one.lengths / max(average_length, 1e-9)
            norms = (settings.k1 * (1 - settings.b + settings.b * relative_lengths)).astype(np.float32)
            self._parts.append(_Part(one, mask, norms))
        self._searcher = SegmentedSearcher(self._parts, live, "text")
        self.num_documents: int = self._searcher.num_documents
        self.dim: int | None = None

    def search(
        self, queries: Sequence[str] | Representation, depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Return the ``depth`` best documents of each query text (see ``IndexSearcher.search``)."""
        return self.search_terms([self.count(query) for query in _require_texts(queries)], depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query text (see ``IndexSearcher.score``)."""
        return self.score_terms([self.count(query) for query in _require_texts(queries)], numbers)

    def search_terms(
        self, queries: Sequence[Mapping[str, float]], depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Return the ``depth`` best documents of each query. A query is a mapping of terms to weights."""
        return self._searcher.search(self._weighted(queries), depth, allowed)

    def score_terms(self, queries: Sequence[Mapping[str, float]], numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query. A query is a mapping of terms to weights."""
        return self._searcher.score(self._weighted(queries), numbers)

    def count(self, text: str) -> Counter[str]:
        """Return how often each term occurs in a text."""
        return Counter(self._analyzer.words(text))

    def df_ratio(self, term: str) -> float:
        """Return the fraction of the documents that contain a term, from 0 to 1."""
        return self._document_frequency(term) / max(1, self.num_documents)

    def _document_frequency(self, term: str) -> int:
        """Return the number of documents that contain a term. It is counted once if documents were deleted."""
        if (known := self._document_frequencies.get(term)) is None:
            known = sum(part.document_frequency(term) for part in self._parts)
            self._document_frequencies[term] = known
        return known

    def _weighted(self, queries: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
        """Return the terms of each query with their weights times the inverse document frequency."""
        return [
            {
                term: weight * self._idf(frequency)
                for term, weight in query.items()
                if (frequency := self._document_frequency(term))
            }
            for query in queries
        ]

    def _idf(self, frequency: int) -> float:
        return math.log(1 + (self.num_documents - frequency + 0.5) / (frequency + 0.5))


def _require_texts(texts: Iterable[str] | Representation) -> Iterable[str]:
    """Return ``texts`` unchanged. Raise TypeError if it is a single string, or embeddings or term weights of texts."""
    if isinstance(texts, (Representation, str)):
        raise TypeError(f"a bm25 index takes a list of texts, not a {type(texts).__name__}")
    return texts

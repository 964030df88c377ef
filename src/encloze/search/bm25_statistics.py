"""Statistics of BM25 for term weights that a search engine stores: document frequencies and the average length.

Engines have a BM25 of their own, but their tokenization, their statistics of parts of a collection and their rounding
of lengths differ from each other. So documents and queries become term weights here, whose inner product is the score
of ``Bm25Searcher``, and all engines rank alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from encloze.errors import CheckpointError
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Bm25Statistics:
    """Document frequencies of terms, the number of documents, and the average length at the time of the build.

    Attributes:
        num_documents: Number of documents.
        average_length: Mean number of terms of the documents from which the index was built. It stays the same when
            documents are added or deleted, because it is part of all stored weights.

    Example:
        >>> from encloze.search.analyzers.plain import Plain
        >>> statistics = Bm25Statistics(Bm25(analyzer=Plain()))
        >>> statistics.build(["rivers flow", "engines need fuel"])
        >>> statistics.num_documents, statistics.average_length
        (2, 2.5)
    """

    def __init__(self, settings: Bm25) -> None:
        """Create empty statistics. ``settings`` has an analyzer (see ``Bm25.with_defaults``)."""
        assert settings.analyzer is not None  # with_defaults sets it
        self._settings, self._analyzer = settings, settings.analyzer
        self._numbers, self._frequencies = dict[str, int](), list[int]()
        self.num_documents, self.average_length = 0, 0.0

    @classmethod
    def load(cls, settings: Bm25, file: Path) -> Self:
        """Return the statistics in a file.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        stored = read_json(file, dict[str, Any])
        terms, frequencies, counts = stored.get("terms"), stored.get("frequencies"), stored.get("documents")
        is_valid = (
            isinstance(terms, list)
            and isinstance(frequencies, list)
            and len(set(terms)) == len(terms) == len(frequencies)
            and isinstance(counts, int)
            and isinstance(stored.get("average_length"), float)
            and all(isinstance(frequency, int) for frequency in frequencies)
        )
        if not is_valid or not isinstance(terms, list) or not isinstance(frequencies, list):
            raise CheckpointError(f"{file} is damaged: expected statistics of terms. Build the index again")
        statistics = cls(settings)
        statistics._numbers = {term: number for number, term in enumerate(terms)}
        statistics._frequencies = list(frequencies)
        statistics.num_documents, statistics.average_length = int(stored["documents"]), stored["average_length"]
        return statistics

    def save(self, file: Path) -> None:
        """Write the statistics to a file."""
        content = {
            "documents": self.num_documents,
            "average_length": self.average_length,
            "terms": list(self._numbers),
            "frequencies": self._frequencies,
        }
        write_json(file, content)

    def build(self, texts: Iterable[str]) -> None:
        """Count the terms of the documents of a new index."""
        total = 0
        for text in texts:
            total += self._count_document(text, 1)
        self.average_length = total / max(1, self.num_documents)

    def add(self, texts: Iterable[str]) -> None:
        """Count the terms of documents that are added."""
        for text in texts:
            self._count_document(text, 1)

    def remove(self, texts: Iterable[str]) -> None:
        """Subtract the terms of documents that are deleted."""
        for text in texts:
            self._count_document(text, -1)

    def count(self, text: str) -> Counter[str]:
        """Return how often each term occurs in a text."""
        return Counter(self._analyzer.words(text))

    def document_weights(self, texts: Sequence[str]) -> csr_matrix:
        """Return ``tf / (tf + length_norm)`` of each term of documents: float32, (documents, terms)."""
        rows = []
        for text in texts:
            counts = self.count(text)
            relative = counts.total() / max(self.average_length, 1e-9)
            norm = self._settings.k1 * (1 - self._settings.b + self._settings.b * relative)
            rows.append({self._number(term): tf / (tf + norm) for term, tf in counts.items()})
        return self._matrix(rows)

    def query_weights(self, queries: Sequence[Mapping[str, float]]) -> csr_matrix:
        """Return the weights of the terms of queries times their inverse document frequencies: float32.

        Args:
            queries: The weight of each term of each query. Terms that no document contains are left out.
        """
        rows = []
        for query in queries:
            known = ((self._numbers.get(term, -1), weight) for term, weight in query.items())
            frequent = ((number, weight) for number, weight in known if number >= 0 and self._frequencies[number] > 0)
            rows.append({number: weight * self._idf(self._frequencies[number]) for number, weight in frequent})
        return self._matrix(rows)

    def _idf(self, frequency: int) -> float:
        return math.log(1 + (self.num_documents - frequency + 0.5) / (frequency + 0.5))

    def _count_document(self, text: str, change: int) -> int:
        """Count a document, or with the change -1 subtract it. Return its number of terms."""
        terms = self._analyzer.words(text)
        for term in set(terms):
            self._frequencies[self._number(term)] += change
        self.num_documents += change
        return len(terms)

    def _number(self, term: str) -> int:
        """Return the number of a term, which is a new one if the term is new."""
        number = self._numbers.setdefault(term, len(self._numbers))
        if number == len(self._frequencies):
            self._frequencies.append(0)
        return number

    def _matrix(self, rows: Sequence[Mapping[int, float]]) -> csr_matrix:
        from scipy.sparse import csr_matrix

        ends = np.cumsum([0, *map(len, rows)])
        terms = np.fromiter((term for row in rows for term in row), np.int64, ends[-1])
        values = np.fromiter((value for row in rows for value in row.values()), np.float32, ends[-1])
        return csr_matrix((values, terms, ends), (len(rows), max(1, len(self._numbers))))

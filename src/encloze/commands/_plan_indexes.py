"""Measurement of small indexes of a sample of documents, for ``encloze plan``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.commands._plan_encoding import memory_now
from encloze.data.corpus import Corpus
from encloze.data.field_columns import write_field_columns
from encloze.data.records import Document, Representation
from encloze.errors import DataError
from encloze.evaluation.latency import latencies
from encloze.retrieval.cost_models import Fit, IndexModel, Sample, heaps_law
from encloze.search.indexes.base import Index
from encloze.storage.cache import temporary_folder
from encloze.storage.disk import size_of
from encloze.systems._memory import PeakMemory
from encloze.systems.base import PROCESS_STATUS

_START, _MIN_TEXTS, _MAX_FIELDS, _WARM_UP = 5000, 100, 2000, 20
_MAX_SIZES = 5
_MAX_BYTES = 2**28  # of the vectors of an index that is measured
_GROWTH = 2.2  # of the time if the number of documents doubles
_PART = 4096  # documents added at a time, as in ``build_views``
_NOISE = 0.7
"""Factor of the difference of two embeddings that is added to a third one. In benchmarks/dense_search.py, documents and
their nearest neighbors then have about the same cosine as among real passages."""
_WEIGHT_NOISE = 0.1  # relative standard deviation that is added to term weights
_TIMED_QUERIES, _DEPTH = 50, 10
_RESOLUTION = 2**18
_SAMPLE_SIZE = 200  # documents from which the analyzer of BM25 is chosen, as in ``build_views``


def enlarge(vectors: Representation, count: int) -> Representation:
    """Return a number of vectors that are resampled from others, with noise.

    Args:
        vectors: Embeddings or term weights of at least one document.
        count: Number of vectors to return.
    """
    draw = np.random.default_rng(0)
    if vectors.dense is not None:
        base, plus, minus = draw.integers(len(vectors.dense), size=(3, count))
        rows = vectors.dense[base] + np.float32(_NOISE) * (vectors.dense[plus] - vectors.dense[minus])
        norms = [np.linalg.norm(part, axis=1, keepdims=True) for part in (vectors.dense[base], rows)]
        return Representation(dense=rows * (norms[0] / np.maximum(norms[1], 1e-12)))
    assert vectors.sparse is not None  # a representation has one of both
    weights = vectors.sparse[draw.integers(vectors.sparse.shape[0], size=count)]
    noise = 1 + _WEIGHT_NOISE * draw.standard_normal(len(weights.data), np.float32)
    weights.data *= np.maximum(noise, np.float32(0.1))
    return Representation(sparse=weights)


class IndexTrials:
    """Builds and searches small indexes, and fits their costs.

    Args:
        documents: A random sample of the documents, in random order.
        vectors: Vectors of some of them; None without a model.
        queries: Texts of queries.
        encoded_queries: Vectors of the queries; None without a model.
        texts: Texts of the sample, as analyzers read them.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        texts: Sequence[str],
        queries: Sequence[str],
        vectors: Representation | None,
        encoded_queries: Representation | None,
    ) -> None:
        self._documents, self._texts, self._queries = documents, texts, queries
        self._vectors, self._encoded_queries = vectors, encoded_queries

    def measure_texts(self) -> tuple[Fit, Fit]:
        """Return the bytes of the texts and of the fields on disk as functions of the number of documents."""
        found: tuple[dict[int, float], dict[int, float]] = ({}, {})
        with temporary_folder() as folder:
            count = min(_MAX_FIELDS, len(self._documents))
            for size in (count // 2, count):
                part = self._documents[:size]
                Corpus.from_documents(part, folder / "documents.arrow")
                write_field_columns(part, folder / "fields.arrow")
                for sizes, name in zip(found, ("documents", "fields"), strict=True):
                    sizes[size] = (folder / f"{name}.arrow").stat().st_size
        return Fit(found[0], lambda n: (n, 1)), Fit(found[1], lambda n: (n, 1))

    def measure(self, index: Index, deadline: float) -> IndexModel:
        """Build an index of more and more documents until a time (of ``time.monotonic``), and fit its costs.

        Raises:
            DataError: The index cannot be built, for example because its storage does not fit the vectors.
        """
        given, index = index, index.with_defaults(lambda: self._texts[:_SAMPLE_SIZE])
        is_text = index.input_type == "text"
        sizes = self._text_sizes() if is_text else self._vector_sizes(index)
        samples = list[Sample]()
        try:
            self._sample(index, min(_WARM_UP, sizes[0]))
        except ValueError as error:
            raise DataError(f"{index.label} cannot be planned: {error}") from error
        for size in sizes:
            began = time.monotonic()
            samples.append(self._sample(index, size))
            needed = _GROWTH * (time.monotonic() - began)
            if len(samples) > is_text and time.monotonic() + needed > deadline:  # the vocabulary needs two sizes
                break
        if is_text:
            return IndexModel(given, samples, 0, heaps_law(self._vocabulary(index, samples)))
        vectors = self._view(self._vectors, index)
        return IndexModel(index, samples, (vectors.dense if vectors.sparse is None else vectors.sparse).shape[1])

    def _text_sizes(self) -> list[int]:
        """Return the numbers of documents of indexes of texts, which are real ones."""
        halves = [len(self._texts)]
        while halves[0] // 2 >= _MIN_TEXTS or len(halves) < 2:
            halves.insert(0, halves[0] // 2)
        return halves

    def _vector_sizes(self, index: Index) -> list[int]:
        """Return the numbers of documents of indexes of vectors, which are resampled."""
        vectors = self._view(self._vectors, index)
        if vectors.dense is not None:
            each = 4 * vectors.dense.shape[1]
        else:
            each = 8 * vectors.sparse.nnz // vectors.sparse.shape[0]
        start = max(_START, index.min_documents)
        sizes = [start * 2**step for step in range(_MAX_SIZES)]
        return [size for size in sizes if size == start or size * each <= _MAX_BYTES]

    def _sample(self, index: Index, size: int) -> Sample:
        """Build, open and search an index of a number of documents."""
        is_text = index.input_type == "text"
        source: Any = self._texts if is_text else enlarge(self._view(self._vectors, index), size)
        searched: Sequence[Any] = self._queries
        if not is_text:
            queries = self._view(self._encoded_queries, index)
            searched = [_rows(queries, row, row + 1) for row in range(len(self._queries))]
        silent = progress.use_listener(progress.SilentListener())
        with silent, temporary_folder() as folder:
            seconds, build_bytes = _build(index, source, size, folder)
            del source
            checked = index.open(folder)  # the first time, files are checked, and code is imported and compiled
            latencies(lambda query: checked.search([query] if is_text else query, _DEPTH), searched, _WARM_UP)
            before = memory_now()
            searcher = index.open(folder)
            timed = latencies(
                lambda query: searcher.search([query] if is_text else query, _DEPTH), searched, _TIMED_QUERIES
            )
            other = _without_noise(memory_now() - before)
            return Sample(size, seconds, size_of(folder), index.memory(folder), other, build_bytes, timed["p50"])

    def _vocabulary(self, index: Any, samples: Sequence[Sample]) -> dict[int, int]:
        """Return the number of distinct terms for each measured number of documents."""
        seen, found, start = set[str](), dict[int, int](), 0
        for sample in samples:
            for text in self._texts[start : sample.documents]:
                seen.update(index.analyzer.words(text))
            found[sample.documents], start = len(seen), sample.documents
        return found

    def _view(self, vectors: Representation | None, index: Index) -> Representation:
        """Return the vectors that an index is built from."""
        assert vectors is not None  # the command checks that the model computes them
        return vectors._replace(**{"dense" if index.input_type == "sparse" else "sparse": None})


def _build(index: Index, source: Any, size: int, folder: Path) -> tuple[float, float]:
    """Build an index of the first documents of a source; return the seconds and the peak memory in bytes."""
    before, began = memory_now(), time.perf_counter()

    def build() -> None:
        builder = index.builder(folder)
        for part in _parts(source, size):
            builder.add(part)
        builder.finish()

    if not PROCESS_STATUS.exists():
        build()
        return time.perf_counter() - began, 0.0
    with PeakMemory() as peak:
        build()
    return time.perf_counter() - began, _without_noise(peak.bytes - before)


def _without_noise(size: int) -> int:
    """Return a growth of the memory in bytes; 0 if it is so small that pages of the allocator explain it."""
    return size if size >= _RESOLUTION else 0


def _parts(source: Any, size: int) -> Iterator[Any]:
    cut: Callable[[int, int], Any] = lambda start, end: source[start:end]  # noqa: E731
    if isinstance(source, Representation):
        cut = lambda start, end: _rows(source, start, end)  # noqa: E731
    for start in range(0, size, _PART):
        yield cut(start, min(start + _PART, size))


def _rows(vectors: Representation, start: int, end: int) -> Representation:
    return Representation(*(None if view is None else view[start:end] for view in vectors))

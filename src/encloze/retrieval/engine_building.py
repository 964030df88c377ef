"""Building of indexes in a search engine: the documents and their vectors are sent to a new collection."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Representation, SearchResults, full_text
from encloze.encoders.base import Encoder
from encloze.errors import DataError, RecipeError, StorageError
from encloze.execution.encodings import encode_corpus
from encloze.retrieval.engine_index import (
    EngineState,
    collection_description,
    engine_views,
    open_searcher,
    write_engine_state,
)
from encloze.retrieval.given_vectors import given_vectors
from encloze.retrieval.index_building import describe_views, exact_indexes, named_indexes, with_defaults
from encloze.retrieval.index_folder import StoredEngine, write_description
from encloze.retrieval.views import View
from encloze.search.bm25_statistics import Bm25Statistics
from encloze.search.engines._field_values import NAMES, field_values
from encloze.search.engines.base import Engine, EngineCollection, EngineView, document_numbers
from encloze.search.indexes.base import Index, IndexSearcher
from encloze.search.indexes.bm25 import Bm25

_BATCH = 1000  # documents sent at a time


def named_collection(engine: Engine, output: Path) -> Engine:
    """Return an engine whose collection has a name: by default that of the index folder."""
    if engine.collection:
        return engine
    return replace(engine, collection=f"encloze_{re.sub(r'[^A-Za-z0-9_]', '_', output.name)[:150]}")


def check_engine(engine: Engine, indexes: Sequence[Index]) -> None:
    """Raise RecipeError if an engine cannot build one of the indexes."""
    try:
        engine.check_indexes(indexes)
    except ValueError as error:
        raise RecipeError("the index", [("engine", str(error))]) from error


def document_weights(statistics: Mapping[str, Bm25Statistics], documents: Sequence[Document]) -> dict[str, Any]:
    """Return the BM25 term weights of documents for each BM25 index."""
    texts = [full_text(document.title, document.text) for document in documents]
    return {name: of_view.document_weights(texts) for name, of_view in statistics.items()}


def encoded_batches(
    documents: Corpus, parts: Iterator[Representation] | None
) -> Iterator[tuple[list[Document], Representation]]:
    """Yield the documents of a collection in batches, with their representations, which are empty without ``parts``."""
    start = 0
    if parts is None:
        parts = (Representation() for _ in range(0, len(documents), _BATCH))
    for part in parts:
        is_empty = part.dense is None and part.sparse is None
        end = min(start + (_BATCH if is_empty else part.num_texts), len(documents))
        for first in range(start, end, _BATCH):
            rows = slice(first - start, min(first + _BATCH, end) - start)
            batch = Representation(*(None if vectors is None else vectors[rows] for vectors in part))
            yield documents[first : min(first + _BATCH, end)], batch
        start = end


def send(
    collection: EngineCollection,
    views: Mapping[str, EngineView],
    statistics: Mapping[str, Bm25Statistics],
    documents: Sequence[Document],
    encoded: Representation,
) -> None:
    """Send a batch of documents with their vectors to a collection.

    Args:
        collection: The collection.
        views: The indexes.
        statistics: The statistics of each BM25 index.
        documents: The documents.
        encoded: Their representations.
    """
    kinds = {name: view.settings.input_type for name, view in views.items()}
    vectors = {name: getattr(encoded, kind) for name, kind in kinds.items() if kind != "text"}
    vectors |= document_weights(statistics, documents)
    collection.upsert(documents, document_numbers([document.id for document in documents]), vectors)


class IndexTarget(NamedTuple):
    """Where an index is written."""

    engine: Engine | None
    """The search engine of the documents; None to store them in the index folder."""
    output: Path
    """The index folder, from whose name that of the collection is made by default."""
    overwrite: bool
    """Whether the folder, or a collection with this name, may be replaced."""


@contextmanager
def build_engine_index(
    corpus: Corpus,
    indexes: Sequence[Index],
    encoder: Encoder | None,
    folder: Path,
    vectors: Path | None,
    target: IndexTarget,
    engine: Engine,
) -> Iterator[tuple[list[dict[str, Any]], list[View]]]:
    """Build indexes of documents in a new collection of an engine, and write what belongs into the index folder.

    Args:
        corpus: The documents.
        indexes: The indexes; if empty, exact ones for the representations of the encoder.
        encoder: Encoder of the documents; None if all indexes are built from text.
        folder: The index folder that is being written.
        vectors: File with the vectors of the documents; by default they are computed.
        target: The index folder, and whether a collection may be replaced.
        engine: The engine.

    Yields:
        The descriptions of the indexes, and the opened indexes, without encoders, with the numbers of the documents in
        ``corpus``. Afterwards the connection is closed; after an error, also one in the ``with`` block, the collection
        is deleted.

    Raises:
        StorageError: The collection exists, and must not be replaced.
        DataError: Two ids have the same hash, or a document is too large.
        EndpointError: The engine cannot be reached.
    """
    named = named_indexes(tuple(indexes) or (exact_indexes(encoder) if encoder else ()), encoder)
    check_engine(engine, list(named.values()))
    numbers = document_numbers(list(corpus.ids))
    if len(np.unique(numbers)) < len(numbers):
        raise DataError("two ids have the same hash, by which search engines know documents. Change one of the ids")
    entries = describe_views(with_defaults(named, corpus), encoder, folder)
    stored = StoredEngine(named_collection(engine, target.output), secrets.token_hex(8))
    views = engine_views(folder, entries)
    collection = stored.engine.connect(folder)
    try:
        _refuse_existing(collection, stored.engine, overwrite=target.overwrite)
        try:
            collection.drop()
            statistics = _statistics(views, corpus)
            parts = _representations(corpus, list(named.values()), encoder, vectors)
            collection.create(list(views.values()), collection_description(stored, entries))
            state = EngineState(0, _send_all(collection, views, statistics, corpus, parts), statistics)
            write_description(folder, len(corpus), entries, stored)
            write_engine_state(folder, state)
            searchers = [open_searcher(collection, views[entry["name"]], entry, state) for entry in entries]
            pairs = zip(views, searchers, strict=True)
            yield entries, [View(name, RowSearcher(searcher, numbers)) for name, searcher in pairs]
        except BaseException:
            collection.drop()
            raise
    finally:
        collection.close()


def _statistics(views: Mapping[str, EngineView], corpus: Corpus) -> dict[str, Bm25Statistics]:
    """Return the statistics of each BM25 index."""
    statistics = {}
    for name, view in views.items():
        if isinstance(view.settings, Bm25):
            statistics[name] = Bm25Statistics(view.settings)
            statistics[name].build(progress.track(corpus.texts(), "Counting terms", len(corpus), "documents"))
    return statistics


def _representations(
    corpus: Corpus, indexes: Sequence[Index], encoder: Encoder | None, vectors: Path | None
) -> Iterator[Representation] | None:
    """Return the representations of documents for inner products; None if all indexes are built from text."""
    if encoder is None or all(index.input_type == "text" for index in indexes):
        return None
    parts = given_vectors(vectors, corpus, encoder, indexes) if vectors else encode_corpus(encoder, corpus)
    return (encoder.similarity.for_inner_products(part) for part in parts)


def _refuse_existing(collection: EngineCollection, engine: Engine, *, overwrite: bool) -> None:
    """Raise StorageError if a collection exists and must not be replaced."""
    if collection.description() is not None and not overwrite:
        raise StorageError(
            f"the collection {engine.collection} exists already in {engine.name} {engine.uri}. Choose another "
            "--engine.collection, or give --overwrite to replace it"
        )


def _send_all(
    collection: EngineCollection,
    views: Mapping[str, EngineView],
    statistics: Mapping[str, Bm25Statistics],
    documents: Corpus,
    parts: Iterator[Representation] | None,
) -> frozenset[str]:
    """Send documents to a collection. Return the names of their fields."""
    fields = set[str]()
    with progress.task("Sending documents", len(documents), "documents") as bar:
        for batch, encoded in encoded_batches(documents, parts):
            send(collection, views, statistics, batch, encoded)
            fields.update(name for document in batch for name in field_values(document)[NAMES])
            bar.advance(len(batch))
    return frozenset(fields)


class RowSearcher:
    """Searcher with the row numbers of a collection in place of the document numbers of an engine."""

    def __init__(self, searcher: IndexSearcher, numbers: np.ndarray) -> None:
        """Create a searcher. ``numbers`` has the number in the engine of each row: int64, (documents,)."""
        self._searcher, self._numbers = searcher, numbers
        self._order = np.argsort(numbers)
        self.input_type = searcher.input_type
        self.num_documents, self.dim = len(numbers), searcher.dim

    def search(self, queries: Any, depth: int, allowed: np.ndarray | None = None) -> SearchResults:
        """Return the best documents of each query (see ``IndexSearcher.search``)."""
        found = self._searcher.search(queries, depth, allowed)
        places = np.searchsorted(self._numbers, found.numbers, sorter=self._order).clip(max=len(self._numbers) - 1)
        return SearchResults(np.where(found.numbers < 0, -1, self._order[places]), found.scores)

    def score(self, queries: Any, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of documents for each query (see ``IndexSearcher.score``)."""
        return self._searcher.score(queries, [self._numbers[of_query] for of_query in numbers])

"""Interface of search engines: the connection settings, and the collection of documents and vectors in an engine."""

from __future__ import annotations

import itertools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import xxhash

from encloze.data.filters import Combination, Comparison, Condition, Filter, filter_error
from encloze.data.records import Document, SearchResults
from encloze.errors import EndpointError
from encloze.family import Family
from encloze.search.indexes.base import Index

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLLECTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


class EngineView(NamedTuple):
    """An index of a collection in an engine."""

    name: str
    """Name of the index, such as ``flat``."""
    settings: Index
    """Its settings."""
    dim: int | None = None
    """Number of dimensions of embeddings; None for term weights."""


class EngineCollection(ABC):
    """A collection in an engine: documents with their fields and vectors, by document number.

    All methods raise EndpointError if the engine cannot be reached, rejects a request or lacks the collection.
    """

    max_depth: ClassVar[int]
    """Highest number of documents that the engine returns for a query."""

    @abstractmethod
    def description(self) -> str | None:
        """Return the text that ``create`` stored with the collection; None if the collection does not exist."""

    @abstractmethod
    def create(self, views: Sequence[EngineView], description: str) -> None:
        """Create the collection, and store a description with it.

        Args:
            views: The indexes.
            description: Text that identifies the index folder and the models of the collection.
        """

    @abstractmethod
    def upsert(self, documents: Sequence[Document], numbers: np.ndarray, vectors: Mapping[str, Any]) -> None:
        """Add documents, or replace those with the same numbers. Searches that start afterwards find them.

        Args:
            documents: The documents.
            numbers: Their numbers: int64, (documents,).
            vectors: Their embeddings or term weights for each view, by its name.
        """

    @abstractmethod
    def delete(self, numbers: np.ndarray) -> None:
        """Delete documents by their numbers: int64, (documents,)."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of documents."""

    @abstractmethod
    def drop(self) -> None:
        """Delete the collection with all of its documents, if it exists."""

    @abstractmethod
    def search(self, view: EngineView, queries: Any, depth: int, where: Any = None) -> SearchResults:
        """Return the ``depth`` documents with the highest inner products with each query, best first.

        Args:
            view: The index to search.
            queries: Embeddings or term weights of the queries. Each has at least one term.
            depth: Number of documents, at most ``max_depth``.
            where: What ``translate`` returned for a filter; None for all documents.
        """

    @abstractmethod
    def vectors(self, view: EngineView, numbers: np.ndarray, width: int) -> Any:
        """Return the embeddings or term weights of documents, zeros for those that do not exist.

        Args:
            view: The index with the vectors.
            numbers: The numbers of the documents: int64, (documents,).
            width: Number of dimensions or terms.
        """

    @abstractmethod
    def documents(self, numbers: np.ndarray) -> list[Document | None]:
        """Return documents by their numbers: int64, (documents,). None for those that do not exist."""

    @abstractmethod
    def select(self, where: Any = None) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield the numbers and ids of the documents that pass a filter, of all by default, in batches."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection. The collection cannot be used afterwards."""

    def translate(self, filter_: Filter) -> Any:
        """Return a filter in the language of the engine.

        Raises:
            RecipeError: The engine has no such comparison. The message names the reason.
        """
        return self._translate(filter_.normalized())

    def _translate(self, part: Comparison | Combination) -> Any:
        if isinstance(part, Comparison):
            return self.compare(part.condition, is_negated=part.is_negated)
        return self.combine([self._translate(inner) for inner in part.parts], is_and=part.operator == "and")

    @abstractmethod
    def compare(self, condition: Condition, *, is_negated: bool) -> Any:
        """Return the expression that a condition holds for a document, or that it does not hold (see ``Filter``)."""

    @abstractmethod
    def combine(self, expressions: Sequence[Any], *, is_and: bool) -> Any:
        """Return the expression that all expressions hold, or that one of them does."""


@dataclass(frozen=True)
class Engine(Family):
    """Base class of search engines. An instance contains the address of a collection, and connects to it.

    Credentials are no settings: they are read from an environment variable, and are not stored.
    """

    uri: str = ""
    """Address of the server, such as http://localhost:19530. By default, milvus and qdrant store the collection in the
    index folder."""
    collection: str = ""
    """Name of the collection in the engine: letters, digits and underscores. By default it is made from the name of the
    index folder."""
    token_variable: str = ""
    """Environment variable with the token or the key of the server. If it is not set, none is sent."""

    def __post_init__(self) -> None:
        if self.token_variable and not _VARIABLE_NAME.fullmatch(self.token_variable):
            raise ValueError(f"token_variable must be the name of an environment variable, not {self.token_variable!r}")
        if self.collection and not _COLLECTION_NAME.fullmatch(self.collection):
            message = "collection must begin with a letter and contain only letters, digits and underscores"
            raise ValueError(f"{message}, not {self.collection!r}")
        if "@" in self.uri:
            raise ValueError("uri must not contain credentials, because it is stored. Set the variable token_variable")

    @property
    def token(self) -> str:
        """The credentials in the environment; empty if there are none."""
        return os.environ.get(self.token_variable, "") if self.token_variable else ""

    def check_indexes(self, indexes: Sequence[Index]) -> None:
        """Raise ValueError if the engine has no equivalent of one of the indexes, or of a setting of it."""
        for index in indexes:
            if index.name not in self.supported():
                raise ValueError(f"{self.name} has no index {index.name}. It has {', '.join(self.supported())}")
            self.check_settings(index)

    def supported(self) -> tuple[str, ...]:
        """Return the names of the indexes that the engine has."""
        return ("flat", "inverted", "bm25", "hnsw")

    def check_settings(self, index: Index) -> None:
        """Raise ValueError if the engine does not implement a setting of an index."""
        used = {"hnsw": {"neighbors", "ef_construction", "ef_search"}, "bm25": {"k1", "b", "analyzer"}}
        defaults, ignored = type(index)(), used.get(index.name, set())
        for name, value in vars(index).items():
            if name not in ignored and value != getattr(defaults, name):
                raise ValueError(f"{self.name} does not use the setting {name} of the index {index.name}. Leave it out")

    def connect(self, folder: Path) -> EngineCollection:
        """Return the collection, which need not exist yet.

        Args:
            folder: The index folder, in which an embedded engine stores its files.

        Raises:
            EndpointError: The engine cannot be reached, or rejects the credentials.
            MissingExtraError: The client of the engine is not installed.
        """
        raise NotImplementedError(type(self).__name__)


def document_numbers(ids: Sequence[str]) -> np.ndarray:
    """Return the numbers of documents in an engine: hashes of their ids from 0 to 2^63 - 1, int64, (documents,).

    Example:
        >>> document_numbers(["a", "b"]).dtype
        dtype('int64')
    """
    values = (xxhash.xxh3_64_intdigest(id_.encode()) >> 1 for id_ in ids)
    return np.fromiter(values, np.int64, len(ids))


def results_of(rows: Sequence[Sequence[tuple[int, float]]]) -> SearchResults:
    """Return the numbers and scores of the documents that were found for each query, -1 where there are fewer."""
    width = max(map(len, rows), default=0)
    numbers, scores = np.full((len(rows), width), -1, np.int64), np.zeros((len(rows), width), np.float32)
    for row, found in enumerate(rows):
        numbers[row, : len(found)] = [number for number, _ in found]
        scores[row, : len(found)] = [score for _, score in found]
    return SearchResults(numbers, scores)


def rows_of(vectors: Any) -> list[Any]:
    """Return each row of vectors: an array of an embedding, or the weights of terms by their numbers."""
    if isinstance(vectors, np.ndarray):
        return list(np.asarray(vectors, np.float32))
    ends, terms, values = vectors.indptr.tolist(), vectors.indices.tolist(), vectors.data.tolist()
    return [
        {term: value for term, value in zip(terms[start:end], values[start:end], strict=True) if value}
        for start, end in itertools.pairwise(ends)
    ]


def sparse_rows(rows: Sequence[Mapping[int, float]], width: int) -> csr_matrix:
    """Return rows of term weights by term number as a matrix: float32, (rows, width). Other terms are left out."""
    from scipy.sparse import csr_matrix

    kept = [{term: value for term, value in row.items() if term < width} for row in rows]
    ends = np.cumsum([0, *map(len, kept)])
    terms = np.fromiter((term for row in kept for term in row), np.int64, ends[-1])
    values = np.fromiter((value for row in kept for value in row.values()), np.float32, ends[-1])
    return csr_matrix((values, terms, ends), (len(kept), width))


def unavailable(engine: str, where: str, error: object) -> EndpointError:
    """Return the error that an engine cannot be reached or rejects a request."""
    return EndpointError(f"{engine} at {where}: {error}. Check that it runs, its uri, and the token")


def unsupported(engine: str, condition: Condition, reason: str) -> Exception:
    """Return the error that an engine has no comparison like a condition of a filter."""
    return filter_error(f"{engine} cannot compare {condition.field!r} by {condition.operator}: {reason}")

"""Qdrant: embedded in the index folder by default (for tests and small collections), or a server or cluster."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from encloze.data.filters import Condition
from encloze.data.records import Document, SearchResults
from encloze.errors import EnclozeError, importable
from encloze.search.engines._field_values import NAMES, VALUES, field_key, field_values, kind_of, plain_number
from encloze.search.engines._shared_files import SharedFiles
from encloze.search.engines.base import (
    Engine,
    EngineCollection,
    EngineView,
    results_of,
    rows_of,
    sparse_rows,
    unavailable,
    unsupported,
)
from encloze.search.indexes.hnsw import Hnsw
from encloze.settings import Range
from encloze.storage.names import EMBEDDED_ENGINE

_EXTRA = "qdrant"
_ROWS = 200  # documents in a request: a server accepts 32 MiB
_METADATA = "encloze"
_STORED = ["id", "title", "text", "source", "position", "extra"]
_PART, _PARTS = 6, "abcde"  # texts are ordered by numbers of 6 bytes each, which are exact in float64
_ORDERED = _PART * len(_PARTS)
_EXACT = 2**53


@dataclass(frozen=True)
class Qdrant(Engine, name="qdrant"):
    """Qdrant 1.16 or later. Without ``uri``, the client stores the collection in the index folder.

    One process at a time can open these files, and their search reads all vectors.
    """

    token_variable: str = "ENCLOZE_QDRANT_API_KEY"
    """Environment variable with the API key of the server. If it is not set, none is sent."""
    timeout: Annotated[int, Range(ge=1, le=3600)] = 60
    """Number of seconds after which a request fails."""

    def connect(self, folder: Path) -> QdrantCollection:
        """Return the collection (see ``Engine.connect``)."""
        importable("qdrant_client", _EXTRA)
        return QdrantCollection(self, folder)


class QdrantCollection(EngineCollection):
    """A collection in Qdrant."""

    max_depth: ClassVar[int] = 65_536

    def __init__(self, engine: Qdrant, folder: Path) -> None:
        self._engine, self._name = engine, engine.collection
        self._models = importable("qdrant_client.models", _EXTRA)
        self._errors = importable("qdrant_client.http.exceptions", _EXTRA)
        path = "" if engine.uri else str((folder / EMBEDDED_ENGINE / "qdrant").resolve())
        self._where = engine.uri or path
        with self._requests():
            if path:
                self._client = _files.acquire(path)
                release: Callable[[], None] = partial(_files.release, path)
            else:
                client = importable("qdrant_client", _EXTRA).QdrantClient
                options = {"api_key": engine.token or None, "timeout": engine.timeout, "check_compatibility": False}
                self._client = client(url=engine.uri, **options)
                release = self._client.close
        self._finalizer = weakref.finalize(self, release)

    def close(self) -> None:
        """Close the connection, and the files if nothing else in this process uses them."""
        self._finalizer()

    def description(self) -> str | None:
        """Return the stored description (see ``EngineCollection.description``)."""
        with self._requests():
            if not self._client.collection_exists(self._name):
                return None
            metadata = self._client.get_collection(self._name).config.metadata or {}
            return str(metadata.get(_METADATA, ""))

    def create(self, views: Sequence[EngineView], description: str) -> None:
        """Create the collection (see ``EngineCollection.create``)."""
        models, dense, sparse = self._models, dict[str, Any](), dict[str, Any]()
        for view in views:
            if view.dim is None:
                sparse[view.name] = models.SparseVectorParams()
                continue
            graph = {"m": 0}  # no graph: the search is exact
            if isinstance(view.settings, Hnsw):
                graph = {"m": view.settings.neighbors, "ef_construct": view.settings.ef_construction}
            config = models.HnswConfigDiff(**graph)
            dense[view.name] = models.VectorParams(size=view.dim, distance=models.Distance.DOT, hnsw_config=config)
        with self._requests():
            self._client.create_collection(
                self._name,
                vectors_config=dense,
                sparse_vectors_config=sparse or None,
                metadata={_METADATA: description},
            )

    def upsert(self, documents: Sequence[Document], numbers: np.ndarray, vectors: Mapping[str, Any]) -> None:
        """Add or replace documents (see ``EngineCollection.upsert``)."""
        listed = {name: rows_of(of_view) for name, of_view in vectors.items()}
        points = []
        for place, (document, number) in enumerate(zip(documents, numbers.tolist(), strict=True)):
            payload = {name: getattr(document, name) for name in _STORED[:-1]}
            payload |= {"extra": dict(document.fields), "fields": _stored_fields(document)}
            of_document = {name: self._vector(of_view[place]) for name, of_view in listed.items()}
            points.append(self._models.PointStruct(id=number, vector=of_document, payload=payload))
        with self._requests():
            for start in range(0, len(points), _ROWS):
                self._client.upsert(self._name, points[start : start + _ROWS], wait=True)

    def delete(self, numbers: np.ndarray) -> None:
        """Delete documents by their numbers."""
        with self._requests():
            for start in range(0, len(numbers), _ROWS):
                points = self._models.PointIdsList(points=numbers[start : start + _ROWS].tolist())
                self._client.delete(self._name, points, wait=True)

    def count(self) -> int:
        """Return the number of documents."""
        with self._requests():
            return int(self._client.count(self._name, exact=True).count)

    def drop(self) -> None:
        """Delete the collection, if it exists."""
        with self._requests():
            if self._client.collection_exists(self._name):
                self._client.delete_collection(self._name)

    def search(self, view: EngineView, queries: Any, depth: int, where: Any = None) -> SearchResults:
        """Return the best documents of each query (see ``EngineCollection.search``)."""
        params = None
        if self._engine.uri and view.dim is not None:
            hnsw = view.settings if isinstance(view.settings, Hnsw) else None
            ef = max(depth, hnsw.ef_search or 0) if hnsw else None
            params = self._models.SearchParams(hnsw_ef=ef, exact=hnsw is None)
        requests = [
            self._models.QueryRequest(
                query=self._vector(query), using=view.name, limit=depth, filter=self._filter(where), params=params
            )
            for query in rows_of(queries)
        ]
        with self._requests():
            found = self._client.query_batch_points(self._name, requests)
        return results_of([[(hit.id, hit.score) for hit in response.points] for response in found])

    def vectors(self, view: EngineView, numbers: np.ndarray, width: int) -> Any:
        """Return the vectors of documents (see ``EngineCollection.vectors``)."""
        known = {point.id: point.vector.get(view.name) for point in self._points(numbers, False, [view.name])}
        rows = [known.get(number) for number in numbers.tolist()]
        if view.dim is None:
            pairs = [dict(zip(row.indices, row.values, strict=True)) if row else {} for row in rows]
            return sparse_rows(pairs, width)
        empty = np.zeros(width, np.float32)
        return np.array([empty if row is None else row for row in rows], np.float32).reshape(len(rows), width)

    def documents(self, numbers: np.ndarray) -> list[Document | None]:
        """Return documents by their numbers, None for those that do not exist."""
        known = {point.id: _document(point.payload) for point in self._points(numbers, _STORED, False)}
        return [known.get(number) for number in numbers.tolist()]

    def select(self, where: Any = None) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield the numbers and ids of documents in batches (see ``EngineCollection.select``)."""
        following = None
        while True:
            with self._requests():
                points, following = self._client.scroll(
                    self._name, self._filter(where), limit=1000, offset=following, with_payload=["id"]
                )
            if points:
                yield np.array([point.id for point in points], np.int64), [point.payload["id"] for point in points]
            if following is None:
                break

    def compare(self, condition: Condition, *, is_negated: bool) -> Any:
        """Return the filter of a condition (see ``EngineCollection.compare``)."""
        if condition.constant is None:
            holds, is_negated = self._equal(NAMES, condition.field), not is_negated
        else:
            holds = self._comparison(condition)
        return self._models.Filter(**{"must_not" if is_negated else "must": [holds]})

    def combine(self, expressions: Sequence[Any], *, is_and: bool) -> Any:
        """Return the conjunction or disjunction of filters."""
        return self._models.Filter(**{"must" if is_and else "should": list(expressions)})

    def _comparison(self, condition: Condition) -> Any:
        constant, operator = plain_number(condition.constant), condition.operator
        kind = kind_of(constant)
        path = f"{VALUES}.{field_key(condition.field)}"
        if operator == "==" and not isinstance(constant, float):
            return self._equal(f"{path}.{kind}", constant)
        if isinstance(constant, str):
            return self._ordered_text(f"{path}.o", condition, constant)
        assert isinstance(constant, (int, float))  # bools have no order
        if abs(constant) >= _EXACT:
            raise unsupported("Qdrant", condition, "it compares numbers from 2^53 on only by ==")
        names = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
        limits = {"gte": constant, "lte": constant} if operator == "==" else {names[operator]: constant}
        return self._condition(f"fields.{path}.{kind}", range=self._models.Range(**limits))

    def _ordered_text(self, path: str, condition: Condition, constant: str) -> Any:
        """Return the comparison of texts by the numbers of their first bytes (see ``_order``)."""
        encoded = constant.encode()
        if len(encoded) >= _ORDERED or b"\0" in encoded:
            raise unsupported("Qdrant", condition, f"it compares the first {_ORDERED - 1} bytes of texts")
        if condition.operator == "startswith":
            least, most = _order(encoded), _order(encoded.ljust(_ORDERED, b"\xff"))
            both = [self._beyond("gt", least, or_equal=True), self._beyond("lt", most, or_equal=True)]
            inside = self._models.Filter(must=both)
        else:
            side = "lt" if condition.operator.startswith("<") else "gt"
            inside = self._beyond(side, _order(encoded), or_equal=condition.operator.endswith("="))
        nested = self._models.Nested(key=f"fields.{path}", filter=inside)
        return self._models.NestedCondition(nested=nested)

    def _beyond(self, side: str, parts: Mapping[str, int], *, or_equal: bool) -> Any:
        """Return the filter that numbers are lexicographically less (``lt``) or greater (``gt``) than ``parts``."""
        cases, equal = list[Any](), list[Any]()
        for name, value in parts.items():
            beyond = self._condition(name, range=self._models.Range(**{side: value}))
            cases.append(self._models.Filter(must=[*equal, beyond]))
            equal.append(self._condition(name, range=self._models.Range(gte=value, lte=value)))
        return self._models.Filter(should=[*cases, *([self._models.Filter(must=equal)] if or_equal else [])])

    def _equal(self, path: str, constant: Any) -> Any:
        return self._condition(f"fields.{path}", match=self._models.MatchValue(value=constant))

    def _condition(self, path: str, **comparison: Any) -> Any:
        return self._models.FieldCondition(key=path, **comparison)

    def _filter(self, where: Any) -> Any:
        return where if where is None or isinstance(where, self._models.Filter) else self._models.Filter(must=[where])

    def _vector(self, row: Any) -> Any:
        if isinstance(row, np.ndarray):
            return row.tolist()
        return self._models.SparseVector(indices=list(row), values=list(row.values()))

    def _points(self, numbers: np.ndarray, payload: Any, vectors: Any) -> list[Any]:
        points = list[Any]()
        with self._requests():
            for start in range(0, len(numbers), _ROWS):
                ids = numbers[start : start + _ROWS].tolist()
                points += self._client.retrieve(self._name, ids, with_payload=payload, with_vectors=vectors)
        return points

    @contextmanager
    def _requests(self) -> Iterator[None]:
        """Report errors of the client as EndpointError."""
        try:
            yield
        except EnclozeError:
            raise
        except (self._errors.ApiException, OSError, RuntimeError, ValueError) as error:
            message = str(error).strip()
            if "already accessed" in message:
                message = "another process uses it. Stop the service or the notebook that does, or use a Qdrant server"
            elif "not found" in message.lower() or "doesn't exist" in message:
                message = f"the collection {self._name} does not exist any more. Build the index again"
            raise unavailable("Qdrant", self._where, message) from error


def _start(path: str) -> Any:
    client = importable("qdrant_client", _EXTRA).QdrantClient
    return client(path=path, force_disable_check_same_thread=True)


def _stop(client: Any) -> None:
    client.close()


_files = SharedFiles(_start, _stop)


def _order(encoded: bytes) -> dict[str, int]:
    """Return the first 30 bytes of a text as five numbers, whose lexicographic order is that of the texts."""
    padded = encoded[:_ORDERED].ljust(_ORDERED, b"\0")
    starts = range(0, _ORDERED, _PART)
    return {name: int.from_bytes(padded[start : start + _PART]) for name, start in zip(_PARTS, starts, strict=True)}


def _stored_fields(document: Document) -> dict[str, Any]:
    """Return the fields of a document for filters. ``o`` has the order of the texts (see ``_order``)."""
    stored = field_values(document)
    for kinds in stored[VALUES].values():
        if "t" in kinds:
            kinds["o"] = [_order(text.encode("utf-8", "surrogatepass")) for text in kinds["t"]]
    return stored


def _document(payload: Mapping[str, Any]) -> Document:
    values: dict[str, Any] = {name: payload.get(name) for name in _STORED[:-1]}
    return Document(**values, fields=payload.get("extra") or {})

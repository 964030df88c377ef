"""Milvus: embedded in the index folder (Milvus Lite) by default, or a server or cluster."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from encloze.data.filters import Condition, Constant
from encloze.data.records import Document, SearchResults
from encloze.errors import DataError, EnclozeError, EndpointError, importable
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
)
from encloze.search.indexes.hnsw import Hnsw
from encloze.settings import Range
from encloze.storage.names import EMBEDDED_ENGINE

_EXTRA = "milvus"
_FILE = "milvus.db"
_ROWS = 500  # documents in a request: a message has at most 64 MiB
_MAX_BYTES = 65_535  # of a text, and of a JSON value
_NO_TERM = 2**31 - 1  # term of documents without terms, because Milvus stores no empty vectors; no query has it
_LOWEST_EF = 200
_PROPERTY = "encloze"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})

_LOGGERS = ("decorators", "client.iterator.query_iterator")
"""Loggers of pymilvus that print what is raised as an error as well, or what Milvus Lite does not have."""


@dataclass(frozen=True)
class Milvus(Engine, name="milvus"):
    """Milvus 2.5 or later. Without ``uri``, Milvus Lite stores the collection in the index folder.

    One process at a time can open the files of Milvus Lite.
    """

    token_variable: str = "ENCLOZE_MILVUS_TOKEN"
    """Environment variable with the token of the server, or USER:PASSWORD. If it is not set, none is sent."""
    timeout: Annotated[float, Range(gt=0, le=3600)] = 60.0
    """Number of seconds after which a request fails."""

    def connect(self, folder: Path) -> MilvusCollection:
        """Return the collection (see ``Engine.connect``)."""
        importable("milvus_lite" if not self.uri else "pymilvus", _EXTRA)
        return MilvusCollection(self, folder)


class MilvusCollection(EngineCollection):
    """A collection in Milvus."""

    max_depth: ClassVar[int] = 16_384

    def __init__(self, engine: Milvus, folder: Path) -> None:
        self._client_module = importable("pymilvus", _EXTRA)
        self._engine, self._name = engine, engine.collection
        self._file = "" if engine.uri else str((folder / EMBEDDED_ENGINE / _FILE).resolve())
        self._where = engine.uri or self._file
        with self._requests():
            if self._file:
                Path(self._file).parent.mkdir(parents=True, exist_ok=True)
                _files.acquire(self._file)
                self._finalizer = weakref.finalize(self, _files.release, self._file)
            self._client = self._client_module.MilvusClient(
                self._file or engine.uri, token=engine.token, timeout=engine.timeout
            )
            if self._client.has_collection(self._name):
                self._client.load_collection(self._name)

    def close(self) -> None:
        """Close the connection, and the file of Milvus Lite if nothing else in this process uses it."""
        self._client.close()
        if self._file:
            self._finalizer()

    def description(self) -> str | None:
        """Return the stored description (see ``EngineCollection.description``)."""
        with self._requests():
            if not self._client.has_collection(self._name):
                return None
            properties = self._client.describe_collection(self._name).get("properties") or {}
            return str(properties.get(_PROPERTY, ""))

    def create(self, views: Sequence[EngineView], description: str) -> None:
        """Create the collection (see ``EngineCollection.create``)."""
        kinds = self._client_module.DataType
        schema = self._client_module.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("number", kinds.INT64, is_primary=True)
        for name in ("id", "title", "text"):
            schema.add_field(name, kinds.VARCHAR, max_length=_MAX_BYTES)
        schema.add_field("rest", kinds.JSON)
        schema.add_field("fields", kinds.JSON)
        indexes = self._client_module.MilvusClient.prepare_index_params()
        for view in views:
            if view.dim is None:
                schema.add_field(view.name, kinds.SPARSE_FLOAT_VECTOR)
                indexes.add_index(view.name, index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
            else:
                schema.add_field(view.name, kinds.FLOAT_VECTOR, dim=view.dim)
                hnsw = view.settings if isinstance(view.settings, Hnsw) else None
                params = {"M": hnsw.neighbors, "efConstruction": hnsw.ef_construction} if hnsw else {}
                kind = "HNSW" if hnsw else "FLAT"
                indexes.add_index(view.name, index_type=kind, metric_type="IP", params=params)
        with self._requests():
            self._client.create_collection(
                self._name,
                schema=schema,
                index_params=indexes,
                consistency_level="Strong",
                properties={_PROPERTY: description},
            )

    def upsert(self, documents: Sequence[Document], numbers: np.ndarray, vectors: Mapping[str, Any]) -> None:
        """Add or replace documents (see ``EngineCollection.upsert``)."""
        listed = {name: rows_of(of_view) for name, of_view in vectors.items()}
        rows = []
        for place, (document, number) in enumerate(zip(documents, numbers.tolist(), strict=True)):
            rest = {"source": document.source, "position": document.position, "fields": dict(document.fields)}
            row = {"number": number, "id": document.id, "title": document.title, "text": document.text}
            row |= {"rest": rest, "fields": _stored_fields(document)}
            for name, value in row.items():
                _check_size(document.id, name, value)
            for name, of_view in listed.items():
                vector = of_view[place]
                row[name] = vector if isinstance(vector, np.ndarray) else vector or {_NO_TERM: 1.0}
            rows.append(row)
        with self._requests():
            for start in range(0, len(rows), _ROWS):
                self._client.upsert(self._name, rows[start : start + _ROWS])

    def delete(self, numbers: np.ndarray) -> None:
        """Delete documents by their numbers."""
        with self._requests():
            for start in range(0, len(numbers), _ROWS):
                self._client.delete(self._name, ids=numbers[start : start + _ROWS].tolist())

    def count(self) -> int:
        """Return the number of documents."""
        with self._requests():
            return int(self._client.query(self._name, filter="", output_fields=["count(*)"])[0]["count(*)"])

    def drop(self) -> None:
        """Delete the collection, if it exists."""
        with self._requests():
            if self._client.has_collection(self._name):
                self._client.drop_collection(self._name)

    def search(self, view: EngineView, queries: Any, depth: int, where: Any = None) -> SearchResults:
        """Return the best documents of each query (see ``EngineCollection.search``)."""
        params: dict[str, Any] = {}
        if isinstance(view.settings, Hnsw):
            params = {"ef": max(depth, view.settings.ef_search or _LOWEST_EF)}
        with self._requests():
            found = self._client.search(
                self._name,
                rows_of(queries),
                anns_field=view.name,
                limit=depth,
                filter=where or "",
                output_fields=["number"],
                search_params={"metric_type": "IP", "params": params},
            )
        return results_of([[(hit["number"], hit["distance"]) for hit in hits] for hits in found])

    def vectors(self, view: EngineView, numbers: np.ndarray, width: int) -> Any:
        """Return the vectors of documents (see ``EngineCollection.vectors``)."""
        known = self._rows(numbers, [view.name])
        rows = [known.get(number, {}).get(view.name) for number in numbers.tolist()]
        if view.dim is None:
            return sparse_rows([{int(term): value for term, value in (row or {}).items()} for row in rows], width)
        empty = np.zeros(width, np.float32)
        return np.array([empty if row is None else row for row in rows], np.float32).reshape(len(rows), width)

    def documents(self, numbers: np.ndarray) -> list[Document | None]:
        """Return documents by their numbers, None for those that do not exist."""
        known = self._rows(numbers, ["id", "title", "text", "rest"])
        return [_document(known[number]) if number in known else None for number in numbers.tolist()]

    def select(self, where: Any = None) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield the numbers and ids of documents in batches (see ``EngineCollection.select``)."""
        with self._requests():
            fields = ["number", "id"]
            batches = self._client.query_iterator(self._name, batch_size=1000, filter=where or "", output_fields=fields)
        while True:
            with self._requests():
                rows = batches.next()
            if not rows:
                break
            yield np.array([row["number"] for row in rows], np.int64), [row["id"] for row in rows]
        batches.close()

    def compare(self, condition: Condition, *, is_negated: bool) -> str:
        """Return the expression of a condition (see ``EngineCollection.compare``).

        A comparison of a value that a document lacks is neither true nor false in Milvus, so negations also test that.
        """
        if condition.constant is None:
            contains = f'json_contains(fields["{NAMES}"], {_literal(condition.field)})'
            return contains if is_negated else f"not {contains}"
        kind = kind_of(condition.constant)
        path = f'fields["{VALUES}"]["{field_key(condition.field)}"]["{kind}"]'
        parts = _comparisons(path, condition)
        if is_negated:
            return _joined([f"(not (exists {value}) or not ({expression}))" for value, expression in parts], "and")
        return _joined([f"({expression})" for _, expression in parts], "or")

    def combine(self, expressions: Sequence[Any], *, is_and: bool) -> str:
        """Return the conjunction or disjunction of expressions."""
        return _joined(expressions, "and" if is_and else "or")

    def _rows(self, numbers: np.ndarray, names: list[str]) -> dict[int, dict[str, Any]]:
        known = dict[int, dict[str, Any]]()
        with self._requests():
            for start in range(0, len(numbers), _ROWS):
                ids = numbers[start : start + _ROWS].tolist()
                rows = self._client.query(self._name, ids=ids, output_fields=["number", *names])
                known |= {row["number"]: row for row in rows}
        return known

    @contextmanager
    def _requests(self) -> Iterator[None]:
        """Report errors of the client as EndpointError. The client would also print their tracebacks."""
        loggers = [logging.getLogger(f"pymilvus.{name}") for name in _LOGGERS]
        for logger in loggers:
            logger.addFilter(_reject)
        try:
            yield
        except EnclozeError:
            raise
        except Exception as error:
            if isinstance(error, (self._client_module.MilvusException, OSError, ValueError)):
                message = getattr(error, "message", None) or str(error)
                if self._name in message and ("not found" in message or "not exist" in message):
                    message = f"the collection {self._name} does not exist any more. Build the index again ({message})"
                raise unavailable("Milvus", self._where, message) from error
            raise
        finally:
            for logger in loggers:
                logger.removeFilter(_reject)


def _reject(record: logging.LogRecord) -> bool:
    return False


def _start(file: str) -> str:
    """Open a file of Milvus Lite in this process. Return the file."""
    manager = importable("milvus_lite.server_manager", _EXTRA).server_manager_instance
    logger = logging.getLogger("milvus_lite.server_manager")
    logger.addFilter(_reject)
    try:
        if manager.start_and_get_uri(file) is None:
            raise EndpointError(
                f"Milvus Lite cannot open {file}. One process at a time can: stop the service or the notebook that "
                "uses this index, or use a Milvus server"
            )
        return file
    finally:
        logger.removeFilter(_reject)


def _stop(file: str) -> None:
    importable("milvus_lite.server_manager", _EXTRA).server_manager_instance.release_server(file)


_files = SharedFiles(_start, _stop)


def _stored_fields(document: Document) -> dict[str, Any]:
    """Return the fields of a document for filters: of each kind of values the lowest, the highest, and all if several.

    ``p`` contains several texts in hex, each after a colon, so that prefixes are found by a pattern.
    """
    stored = field_values(document)
    for kinds in stored[VALUES].values():
        for kind, values in kinds.items():
            kinds[kind] = {"lo": values[0], "hi": values[-1]}
            if len(values) > 1:
                kinds[kind]["s"] = values
                if kind == "t":
                    kinds[kind]["p"] = "".join(f":{_hex(value)}" for value in values)
    return stored


def _comparisons(path: str, condition: Condition) -> list[tuple[str, str]]:
    """Return the paths of values and the comparisons of them, of which one must hold."""
    constant = plain_number(condition.constant)
    low, high, several = (f'{path}["{name}"]' for name in ("lo", "hi", "s"))
    literal = _literal(constant)
    match condition.operator:
        case "==":
            return [(low, f"{low} == {literal}"), (several, f"json_contains({several}, {literal})")]
        case "<" | "<=":
            return [(low, f"{low} {condition.operator} {literal}")]
        case ">" | ">=":
            return [(high, f"{high} {condition.operator} {literal}")]
    prefixes = f'{path}["p"]'
    end = _literal(f"{constant}\U0010ffff")
    return [
        (low, f"{low} >= {literal} and {low} <= {end}"),
        (prefixes, f'{prefixes} like "%:{_hex(str(constant))}%"'),
    ]


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def _literal(constant: Constant) -> str:
    if isinstance(constant, str):
        return f'"{constant.translate(_ESCAPES)}"'
    return str(constant).lower() if isinstance(constant, bool) else repr(constant)


def _joined(expressions: Sequence[str], operator: str) -> str:
    return expressions[0] if len(expressions) == 1 else f"({f' {operator} '.join(expressions)})"


def _check_size(id_: str, name: str, value: Any) -> None:
    """Raise DataError if a value of a document is larger than Milvus stores."""
    if isinstance(value, int):
        return
    size = len((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode())
    if size > _MAX_BYTES:
        raise DataError(
            f"{name} of the document {id_!r} has {size:,} bytes, and Milvus stores {_MAX_BYTES:,}. Cut long texts into "
            "passages, for example by chunker, or leave long fields out"
        )


def _document(row: Mapping[str, Any]) -> Document:
    rest = row["rest"] if isinstance(row["rest"], dict) else json.loads(row["rest"])
    return Document(row["id"], row["title"], row["text"], rest["source"], rest["position"], rest["fields"])

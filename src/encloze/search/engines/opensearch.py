"""OpenSearch or Elasticsearch, by HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from encloze.data.filters import Condition
from encloze.data.records import Document, SearchResults
from encloze.errors import DataError, EndpointError, importable
from encloze.search.engines._field_values import NAMES, VALUES, field_key, field_values, kind_of, plain_number
from encloze.search.engines.base import (
    Engine,
    EngineCollection,
    EngineView,
    results_of,
    rows_of,
    sparse_rows,
    unavailable,
)
from encloze.settings import Range
from encloze.storage.json_files import parse_json

_ROWS = 200  # documents in a request: a server accepts 100 MB
_MAX_KEYWORD = 32_766  # bytes of a term in Lucene
_STORED = ("id", "title", "text", "source", "position", "extra")
_DESCRIPTION = "encloze"
_EXACT = 2**53
_LONGEST_MESSAGE = 300
_TYPES = {"n": "double", "i": "long", "t": "keyword", "b": "boolean"}
_SPARE = 1.2  # more candidates than wanted, because Lucene stores term weights with 9 significant bits


@dataclass(frozen=True)
class OpenSearch(Engine, name="opensearch"):
    """OpenSearch 2 or Elasticsearch 8, or later. It needs ``uri``.

    Embeddings are searched exactly, by a script. Term weights are stored with 9 significant bits, so the scores of the
    candidates are computed again from the exact weights.
    """

    token_variable: str = "ENCLOZE_OPENSEARCH_TOKEN"
    """Environment variable with USER:PASSWORD, or with an API key of Elasticsearch. If it is not set, none is sent."""
    timeout: Annotated[float, Range(gt=0, le=3600)] = 60.0
    """Number of seconds after which a request fails."""

    def supported(self) -> tuple[str, ...]:
        """Return the names of the indexes that the engine has."""
        return ("flat", "inverted", "bm25")

    def connect(self, folder: Path) -> OpenSearchCollection:
        """Return the collection (see ``Engine.connect``)."""
        if not self.uri:
            raise EndpointError("opensearch has no embedded form. Set uri, such as http://localhost:9200")
        return OpenSearchCollection(self)


class OpenSearchCollection(EngineCollection):
    """An index of OpenSearch or Elasticsearch."""

    max_depth: ClassVar[int] = 10_000

    def __init__(self, engine: OpenSearch) -> None:
        self._where, self._path = engine.uri.rstrip("/"), f"/{engine.collection.lower()}"
        headers = {"Content-Type": "application/json"}
        if engine.token:
            encoded = base64.b64encode(engine.token.encode()).decode()
            headers["Authorization"] = f"Basic {encoded}" if ":" in engine.token else f"ApiKey {engine.token}"
        self._http = importable("urllib3", "opensearch")
        self._pool = self._http.PoolManager(headers=headers, timeout=engine.timeout, retries=False)
        version = self._request("GET", "/").get("version", {})
        self._is_opensearch = version.get("distribution") == "opensearch"

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def description(self) -> str | None:
        """Return the stored description (see ``EngineCollection.description``)."""
        found = self._request("GET", f"{self._path}/_mapping", missing={})
        meta = next(iter(found.values()), None)
        return None if meta is None else str(meta["mappings"].get("_meta", {}).get(_DESCRIPTION, ""))

    def create(self, views: Sequence[EngineView], description: str) -> None:
        """Create the index (see ``EngineCollection.create``)."""
        stored: dict[str, Any] = {"type": "object", "enabled": False}
        values = {"type": "object", "dynamic": True}
        properties = {
            "number": {"type": "long"},
            "document": stored,
            "vectors": stored,
            "fields": {"properties": {NAMES: {"type": "keyword"}, VALUES: values}},
            **{view.name: self._vector_type(view) for view in views},
        }
        templates = [
            {kind: {"path_match": f"fields.{VALUES}.*.{kind}", "mapping": {"type": type_}}}
            for kind, type_ in _TYPES.items()
        ]
        mappings = {
            "dynamic": False,
            "_meta": {_DESCRIPTION: description},
            "_source": {"excludes": [view.name for view in views]},  # ``vectors`` has them
            "dynamic_templates": templates,
            "properties": properties,
        }
        self._request("PUT", self._path, {"mappings": mappings})

    def upsert(self, documents: Sequence[Document], numbers: np.ndarray, vectors: Mapping[str, Any]) -> None:
        """Add or replace documents (see ``EngineCollection.upsert``)."""
        listed = {name: rows_of(of_view) for name, of_view in vectors.items()}
        lines = []
        for place, (document, number) in enumerate(zip(documents, numbers.tolist(), strict=True)):
            own = {name: getattr(document, name) for name in _STORED[:-1]} | {"extra": dict(document.fields)}
            of_document = {name: _plain_vector(document.id, of_view[place]) for name, of_view in listed.items()}
            row = {"number": number, "document": own, "fields": _stored_fields(document), "vectors": of_document}
            lines.append([{"index": {"_id": str(number)}}, row | of_document])
        self._bulk(lines)

    def delete(self, numbers: np.ndarray) -> None:
        """Delete documents by their numbers."""
        self._bulk([[{"delete": {"_id": str(number)}}] for number in numbers.tolist()])

    def count(self) -> int:
        """Return the number of documents."""
        return int(self._request("GET", f"{self._path}/_count")["count"])

    def drop(self) -> None:
        """Delete the index, if it exists."""
        self._request("DELETE", self._path, missing={})

    def search(self, view: EngineView, queries: Any, depth: int, where: Any = None) -> SearchResults:
        """Return the best documents of each query (see ``EngineCollection.search``)."""
        if view.dim is None:
            return self._search_terms(view, queries, depth, where)
        rows = []
        for query in rows_of(queries):
            body = {"script_score": {"query": where or {"match_all": {}}, "script": self._script(view, query)}}
            rows.append([(number, _inner_product(score)) for number, score in self._hits(body, depth)])
        return results_of(rows)

    def vectors(self, view: EngineView, numbers: np.ndarray, width: int) -> Any:
        """Return the vectors of documents (see ``EngineCollection.vectors``)."""
        known = self._sources(numbers, f"vectors.{view.name}")
        rows = [known.get(number, {}).get("vectors", {}).get(view.name) for number in numbers.tolist()]
        if view.dim is None:
            return sparse_rows([{int(term): value for term, value in (row or {}).items()} for row in rows], width)
        empty = np.zeros(width, np.float32)
        return np.array([empty if row is None else row for row in rows], np.float32).reshape(len(rows), width)

    def documents(self, numbers: np.ndarray) -> list[Document | None]:
        """Return documents by their numbers, None for those that do not exist."""
        known = self._sources(numbers, "document")
        return [_document(known[number]["document"]) if number in known else None for number in numbers.tolist()]

    def select(self, where: Any = None) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield the numbers and ids of documents in batches (see ``EngineCollection.select``)."""
        body = {
            "query": where or {"match_all": {}},
            "size": 1000,
            "sort": [{"number": "asc"}],
            "_source": ["number", "document.id"],
        }
        while hits := self._request("POST", f"{self._path}/_search", body)["hits"]["hits"]:
            sources = [hit["_source"] for hit in hits]
            numbers = np.array([source["number"] for source in sources], np.int64)
            yield numbers, [source["document"]["id"] for source in sources]
            body["search_after"] = [int(numbers[-1])]

    def compare(self, condition: Condition, *, is_negated: bool) -> Any:
        """Return the query of a condition (see ``EngineCollection.compare``)."""
        if condition.constant is None:
            holds, is_negated = {"term": {f"fields.{NAMES}": condition.field}}, not is_negated
        else:
            holds = _comparison(condition)
        return {"bool": {"must_not" if is_negated else "filter": [holds]}}

    def combine(self, expressions: Sequence[Any], *, is_and: bool) -> Any:
        """Return the conjunction or disjunction of queries."""
        if is_and:
            return {"bool": {"filter": list(expressions)}}
        return {"bool": {"should": list(expressions), "minimum_should_match": 1}}

    def _vector_type(self, view: EngineView) -> dict[str, Any]:
        if view.dim is None:
            return {"type": "rank_features"}
        if self._is_opensearch:
            return {"type": "knn_vector", "dimension": view.dim}
        return {"type": "dense_vector", "dims": view.dim, "index": False}

    def _script(self, view: EngineView, query: np.ndarray) -> dict[str, Any]:
        """Return the script whose score is a function of the inner product (see ``_inner_product``)."""
        if self._is_opensearch:
            params = {"field": view.name, "query_value": query.tolist(), "space_type": "innerproduct"}
            return {"lang": "knn", "source": "knn_score", "params": params}
        product = f"double p = dotProduct(params.query, '{view.name}')"
        return {"source": f"{product}; return p >= 0 ? p + 1 : 1 / (1 - p)", "params": {"query": query.tolist()}}

    def _search_terms(self, view: EngineView, queries: Any, depth: int, where: Any) -> SearchResults:
        """Search term weights, and score the candidates again with the exact weights."""
        candidates = []
        for query in rows_of(queries):
            terms = [
                {"rank_feature": {"field": f"{view.name}.{term}", "linear": {}, "boost": weight}}
                for term, weight in query.items()
            ]
            body: dict[str, Any] = {"bool": {"should": terms, "minimum_should_match": 1}}
            if where:
                body["bool"]["filter"] = [where]
            found = self._hits(body, min(int(_SPARE * depth) + 10, self.max_depth))
            candidates.append(np.array([number for number, _ in found], np.int64))
        numbers = np.unique(np.concatenate(candidates))
        weights = self.vectors(view, numbers, queries.shape[1])
        rows = []
        for place, of_query in enumerate(candidates):
            scores = (weights[np.searchsorted(numbers, of_query)] @ queries[place].T).toarray()[:, 0]
            order = np.argsort(-scores, kind="stable")[:depth]
            rows.append(list(zip(of_query[order].tolist(), scores[order].tolist(), strict=True)))
        return results_of(rows)

    def _hits(self, query: Any, size: int) -> list[tuple[int, float]]:
        body = {"query": query, "size": size, "_source": False, "track_total_hits": False}
        hits = self._request("POST", f"{self._path}/_search", body)["hits"]["hits"]
        return [(int(hit["_id"]), hit["_score"]) for hit in hits]

    def _sources(self, numbers: np.ndarray, included: str) -> dict[int, dict[str, Any]]:
        known = dict[int, dict[str, Any]]()
        for start in range(0, len(numbers), _ROWS):
            ids = [str(number) for number in numbers[start : start + _ROWS].tolist()]
            found = self._request("POST", f"{self._path}/_mget?_source_includes={included}", {"ids": ids})
            if errors := [doc["error"] for doc in found["docs"] if "error" in doc]:
                raise self._rejected(errors[0])
            known |= {int(doc["_id"]): doc["_source"] for doc in found["docs"] if doc.get("found")}
        return known

    def _bulk(self, operations: Sequence[Sequence[Any]]) -> None:
        for start in range(0, len(operations), _ROWS):
            lines = [json.dumps(line) for operation in operations[start : start + _ROWS] for line in operation]
            answer = self._request("POST", f"{self._path}/_bulk?refresh=true", "\n".join(lines) + "\n")
            results = [result for item in answer["items"] for result in item.values()]
            if errors := [result["error"] for result in results if "error" in result]:
                raise self._rejected(errors[0])

    def _request(self, method: str, path: str, body: Any = None, missing: Any = None) -> Any:
        """Send a request and return its JSON response, or ``missing`` if there is no such index."""
        data = body if isinstance(body, str) else None if body is None else json.dumps(body)
        try:
            response = self._pool.request(method, self._where + path, body=data)
            content = parse_json(response.data)
        except (self._http.exceptions.HTTPError, ValueError) as error:
            raise unavailable("OpenSearch", self._where, error) from error
        if response.status == 404 and missing is not None:
            return missing
        if response.status >= 400:
            raise self._rejected(content.get("error", content) if isinstance(content, dict) else content)
        return content

    def _rejected(self, error: Any) -> EndpointError:
        kind, reason = (error.get("type"), error.get("reason")) if isinstance(error, dict) else ("error", error)
        if kind == "index_not_found_exception":
            reason = f"the collection {self._path[1:]} does not exist any more. Build the index again"
        return unavailable("OpenSearch", self._where, f"{kind}: {reason}"[:_LONGEST_MESSAGE])


def _inner_product(score: float) -> float:
    """Return the inner product from a score of ``_script``, which must not be negative in Lucene."""
    return score - 1 if score >= 1 else 1 - 1 / score


def _comparison(condition: Condition) -> Any:
    constant, operator = plain_number(condition.constant), condition.operator
    path, kind = f"fields.{VALUES}.{field_key(condition.field)}", kind_of(constant)
    if operator == "startswith":
        return {"prefix": {f"{path}.t": {"value": constant}}}
    if kind != "n":
        if operator == "==":
            return {"term": {f"{path}.{kind}": constant}}
        return {"range": {f"{path}.{kind}": {_RANGES[operator]: constant}}}
    limits = {"gte": constant, "lte": constant} if operator == "==" else {_RANGES[operator]: constant}
    both = [{"range": {f"{path}.{name}": limits}} for name in ("n", "i")]
    assert isinstance(constant, (int, float))
    if operator == "==":
        return both[1] if isinstance(constant, int) and abs(constant) >= _EXACT else both[0]
    return {"bool": {"should": both, "minimum_should_match": 1}}


_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def _stored_fields(document: Document) -> dict[str, Any]:
    """Return the fields of a document for filters. Integers that are not exact in float64 are of the kind ``i``."""
    stored = field_values(document)
    for kinds in stored[VALUES].values():
        if long := [text for text in kinds.get("t", ()) if len(text.encode()) > _MAX_KEYWORD]:
            raise DataError(
                f"the document {document.id!r} has a field of {len(long[0].encode()):,} bytes, and OpenSearch compares "
                f"{_MAX_KEYWORD:,}. Leave long fields out"
            )
        numbers = kinds.pop("n", [])
        exact = [value for value in numbers if isinstance(value, float) or abs(value) < _EXACT]
        large = [value for value in numbers if isinstance(value, int) and abs(value) >= _EXACT]
        kinds |= {name: values for name, values in (("n", exact), ("i", large)) if values}
    return stored


def _plain_vector(id_: str, row: Any) -> Any:
    if isinstance(row, np.ndarray):
        return row.tolist()
    if min(row.values(), default=1) < 0:
        raise DataError(f"the document {id_!r} has a negative term weight, which OpenSearch does not store")
    return {str(term): value for term, value in row.items()}


def _document(stored: Mapping[str, Any]) -> Document:
    values: dict[str, Any] = {name: stored[name] for name in _STORED[:-1]}
    return Document(**values, fields=stored["extra"])

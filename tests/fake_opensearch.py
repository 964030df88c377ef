"""A server with the part of the HTTP interface of OpenSearch and Elasticsearch that the engine uses."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

Source = dict[str, Any]


class FakeOpenSearch:
    """A server with indexes in memory. As in Lucene, term weights have 9 significant bits.

    Attributes:
        url: Its address.
        credentials: What the header Authorization must be; None for anything.
        requests: Method and path of each request.
        fails_bulk: Whether additions of documents are rejected.
    """

    def __init__(self, distribution: str | None = "opensearch") -> None:
        self._indexes = dict[str, tuple[dict[str, Any], dict[str, Source]]]()
        self.version = {"number": "3.0.0", **({"distribution": distribution} if distribution else {})}
        self.credentials: str | None = None
        self.requests, self.fails_bulk = list[tuple[str, str]](), False
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def basic(self, user: str) -> None:
        """Require the credentials USER:PASSWORD."""
        self.credentials = f"Basic {base64.b64encode(user.encode()).decode()}"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers requests with JSON."""

            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # which delays the body, sent after the headers, by 40 ms

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                fake.requests.append((self.command, self.path))
                if fake.credentials not in (None, self.headers.get("Authorization")):
                    status, content = 401, {"error": {"type": "security_exception", "reason": "wrong credentials"}}
                else:
                    status, content = fake.respond(self.command, self.path, body)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - names of http.server

            def log_message(self, *arguments: Any) -> None:
                return

        return Handler

    def respond(self, method: str, path: str, body: str) -> tuple[int, Any]:
        """Return the status and the content of a response."""
        if path == "/":
            return 200, {"version": self.version}
        name, _, verb = path.strip("/").partition("/")
        if method == "PUT" and not verb:
            if name in self._indexes:
                return 400, {"error": {"type": "resource_already_exists_exception", "reason": "exists"}}
            self._indexes[name] = json.loads(body)["mappings"], {}
            return 200, {}
        if name not in self._indexes:
            return 404, {"error": {"type": "index_not_found_exception", "reason": f"no such index [{name}]"}}
        if method == "DELETE":
            del self._indexes[name]
            return 200, {}
        mappings, rows = self._indexes[name]
        verbs: dict[str, Callable[[], Any]] = {
            "_mapping": lambda: {name: {"mappings": mappings}},
            "_count": lambda: {"count": len(rows)},
            "_bulk": lambda: self._bulk(mappings, rows, body),
            "_mget": lambda: {"docs": [_found(rows, id_) for id_ in json.loads(body)["ids"]]},
            "_search": lambda: _search(rows, json.loads(body)),
        }
        return 200, verbs[verb.partition("?")[0]]()

    def _bulk(self, mappings: Any, rows: dict[str, Source], body: str) -> Any:
        lines, items = iter(body.splitlines()), []
        for line in lines:
            ((operation, target),) = json.loads(line).items()
            if operation == "delete":
                items.append({"delete": {"status": 200 if rows.pop(target["_id"], None) else 404}})
                continue
            source = json.loads(next(lines))
            unknown = source.keys() - mappings["properties"].keys()
            assert not unknown, unknown
            if self.fails_bulk:
                items.append({"index": {"status": 400, "error": {"type": "mapper_exception", "reason": "too large"}}})
                continue
            rows[target["_id"]] = source
            items.append({"index": {"status": 201}})
        return {"errors": self.fails_bulk, "items": items}


def _found(rows: Mapping[str, Source], id_: str) -> dict[str, Any]:
    return {"_id": id_, "found": True, "_source": rows[id_]} if id_ in rows else {"_id": id_, "found": False}


def _search(rows: Mapping[str, Source], body: Any) -> Any:
    scored = [(id_, row, score) for id_, row in rows.items() if (score := _score(body["query"], row)) is not None]
    if "sort" in body:
        after = body.get("search_after", [-1])[0]
        scored = sorted((hit for hit in scored if hit[1]["number"] > after), key=lambda hit: hit[1]["number"])
    else:
        scored.sort(key=lambda hit: -hit[2])
    hits = [{"_id": id_, "_score": score, "_source": row} for id_, row, score in scored[: body["size"]]]
    return {"hits": {"hits": hits}}


def _score(query: Any, row: Source) -> float | None:
    """Return the score of a document for a query; None if it does not match."""
    ((kind, value),) = query.items()
    if kind == "match_all":
        return 1.0
    if kind == "bool":
        return _score_of_parts(value, row)
    if kind == "script_score":
        return None if _score(value["query"], row) is None else _script(value["script"], row)
    if kind == "rank_feature":
        weight = _value(row, value["field"])
        return None if not weight else value["boost"] * _nine_bits(weight[0])
    ((path, comparison),) = value.items()
    return 1.0 if any(_holds(kind, found, comparison) for found in _value(row, path)) else None


def _score_of_parts(parts: Any, row: Source) -> float | None:
    if any(_score(part, row) is None for part in parts.get("filter", [])):
        return None
    if any(_score(part, row) is not None for part in parts.get("must_not", [])):
        return None
    scores = [score for part in parts.get("should", []) if (score := _score(part, row)) is not None]
    return None if len(scores) < parts.get("minimum_should_match", 0) else sum(scores)


def _holds(kind: str, value: Any, comparison: Any) -> bool:
    if kind == "term":
        return bool(value == comparison)
    if kind == "prefix":
        return str(value).startswith(comparison["value"])
    operators: dict[str, Callable[[Any, Any], bool]] = {
        "lt": lambda one, other: one < other,
        "lte": lambda one, other: one <= other,
        "gt": lambda one, other: one > other,
        "gte": lambda one, other: one >= other,
    }
    return all(operators[name](value, limit) for name, limit in comparison.items())


def _value(row: Source, path: str) -> list[Any]:
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, list) else [] if value is None else [value]


def _script(script: Any, row: Source) -> float:
    params = script["params"]
    if script.get("lang") == "knn":
        assert (script["source"], params["space_type"]) == ("knn_score", "innerproduct")
        product = float(np.dot(np.float32(params["query_value"]), np.float32(row[params["field"]])))
    else:
        field = script["source"].split("'")[1]
        product = float(np.dot(np.float32(params["query"]), np.float32(row[field])))
    return float(np.float32(product + 1 if product >= 0 else 1 / (1 - product)))


def _nine_bits(weight: float) -> float:
    mantissa, exponent = np.frexp(weight)
    return float(np.ldexp(np.floor(mantissa * 2**9) / 2**9, exponent))

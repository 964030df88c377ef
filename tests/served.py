"""A real HTTP server in a thread, and a small client, for the tests of the service."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import toys
from encloze.retrieval.retriever import Retriever
from encloze.serving.app import create_app
from encloze.serving.collections import Collection
from encloze.serving.gate import Application
from encloze.serving.judgments import JudgmentFile
from encloze.serving.keys import ApiKeys
from encloze.serving.limits import Limits
from encloze.serving.server import http_server, listen
from encloze.serving.service import Service


class Response(NamedTuple):
    """A response, with its body as JSON or text."""

    status: int
    body: Any
    headers: Mapping[str, str]


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Client(NamedTuple):
    """A client of a server on this machine."""

    port: int

    def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Send a request; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if data is not None else {}
        try:
            connection.request(method, path, data, {**given, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
        is_json = bool(content) and found.get("content-type", "").startswith("application/json")
        return Response(response.status, json.loads(content) if is_json else content.decode(), found)

    def get(self, path: str, **headers: str) -> Response:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Response:
        return self.send("POST", path, body, headers)


class WordReranker:
    """A re-ranker: the number of words that query and document share, less 2."""

    name, calibration, activation = "words", None, "identity"

    def score(self, pairs: Any) -> np.ndarray:
        return np.array([len(set(query.split()) & set(text.split())) - 2.0 for query, text in pairs], np.float32)


def build_index(folder: Path, model: Path) -> Path:
    """Build an index of the toy documents, with fields, over embeddings and words."""
    rows = [{**row, "id": row.pop("_id"), "number": number} for number, row in enumerate(toys.documents())]
    Retriever.build(rows, str(model), indexes=["flat", "bm25"], output=folder)
    return folder


def service_of(
    *folders: Path, reranks: bool = False, judgments: Path | None = None, limits: Limits | None = None
) -> Service:
    """Return a service of some indexes, with the encoder of the first one."""
    reranker = WordReranker() if reranks else None
    collections = {folder.name: Collection(folder.name, folder, reranker=reranker) for folder in folders}
    files = {name: JudgmentFile(judgments / name) for name in collections} if judgments else {}
    return Service(collections, None, reranker, files, limits)


@contextlib.contextmanager
def serving(service: Service, keys: ApiKeys | None = None, hosts: Names[str] = ()) -> Iterator[Client]:
    """Serve on a free port while the ``with`` block runs."""
    with serving_application(create_app(service, keys, hosts)) as client:
        yield client
    for file in service.judgments.values():
        file.close()


@contextlib.contextmanager
def serving_application(application: Application) -> Iterator[Client]:
    """Serve an application on a free port while the ``with`` block runs."""
    server, listening = http_server(application, 10), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield Client(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()

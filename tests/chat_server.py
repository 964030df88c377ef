"""A local HTTP server with the chat completions API, for tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Responder = Callable[[dict[str, Any], int], tuple[int, Any]]
"""Function from a request body and the number of earlier requests to status and response body."""


class ChatServer(ThreadingHTTPServer):
    """Server that responds with ``responder`` and records all requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.requests: list[dict[str, Any]] = []
        self.responder: Responder = lambda body, _: (200, completion(f"about {body['messages'][-1]['content']}"))
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    """Handler that records the request and writes the response."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            count = len(server.requests)
            server.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        status, response = server.responder(body, count)
        data = response if isinstance(response, bytes) else json.dumps(response).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Write no log."""


def completion(text: str | None) -> dict[str, Any]:
    """Return a chat completion with this text."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """Run a server on a thread."""
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()

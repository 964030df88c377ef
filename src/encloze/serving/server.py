"""The HTTP server, uvicorn, with the settings that the service needs."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from encloze.errors import RecipeError
from encloze.serving.gate import Application

_MAX_HEAD_BYTES = 65_536
_HEAD_SECONDS = 10.0
_BACKLOG = 2048


class _TimedProtocol(H11Protocol):
    """Closes connections on which the head of a request does not arrive in time, which uvicorn would keep."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self._is_idle():  # another request on the same connection
            self._wait_for_head()
        super().data_received(data)
        if self._head_timer and not self._is_idle():
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; with port 0, on any free port.

    Raises:
        RecipeError: The address does not exist, is in use, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host}, port {port}: {error.strerror}. Choose another host or port"
        raise RecipeError("the recipe", [("port", message)]) from error


def address_of(listening: socket.socket) -> str:
    """Return the address of a service for browsers: ``http://127.0.0.1:8080/``."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def http_server(application: Application, seconds: float) -> uvicorn.Server:
    """Return a server; its method ``run`` serves on sockets until the process gets SIGINT or SIGTERM.

    Args:
        application: The application (``create_app``).
        seconds: Time that accepted requests have to finish when the server stops.

    Example:
        >>> from encloze.encoders.base import load_encoder
        >>> from encloze.serving.app import create_app
        >>> from encloze.serving.service import Service
        >>> server = http_server(create_app(Service({}, load_encoder("minilm"), None)), seconds=30)
        >>> server.config.access_log
        False
    """
    config = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,  # it would contain the queries in addresses
        server_header=False,
        proxy_headers=False,
        http=_TimedProtocol,
        timeout_graceful_shutdown=int(seconds) + 5,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    return uvicorn.Server(config)

"""HTTP connections with a deadline for whole responses and a limit on their size.

The timeout of urllib3 is that of a single read, so a server that sends one byte at a time would be waited for without
end, and a response is read into memory whatever its size.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from encloze.errors import EndpointError

MAX_RESPONSE_BYTES = 2**24


class _BoundedStream(io.RawIOBase):
    """Bytes of one response: headers and body. The deadline is the timeout of the socket, counted from the start."""

    def __init__(self, source: io.BufferedReader, connection: socket.socket) -> None:
        self._source, self._socket, self._remaining = source, connection, MAX_RESPONSE_BYTES
        timeout = connection.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
        count = self._source.readinto1(buffer)
        self._remaining -= count
        if self._remaining < 0:
            raise EndpointError(
                f"the response of the server is larger than {MAX_RESPONSE_BYTES // 2**20} MiB. Check the url"
            )
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_BoundedStream(self.fp, sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def bounded(connections: urllib3.PoolManager) -> urllib3.PoolManager:
    """Limit the responses of a connection pool.

    Args:
        connections: The pool. The timeout of a request becomes the deadline of its response, headers included.

    Returns:
        The same pool. Its requests raise EndpointError for a response of more than 16 MiB.
    """
    connections.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return connections

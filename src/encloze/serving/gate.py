"""What every request passes before it reaches a protocol: host, size, key, rate; and what every response gets."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from encloze.serving.errors import (
    ForbiddenError,
    InvalidError,
    MalformedError,
    OverloadedError,
    RequestError,
    SlowBodyError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from encloze.serving.keys import ApiKey, ApiKeys
from encloze.serving.limits import Limits
from encloze.serving.metrics import Metrics
from encloze.serving.tracing import RequestSpan

LOGGER = logging.getLogger("encloze.serving")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_PUBLIC = re.compile(r"/|/health|/page/[^/]+")
"""Paths that need no key: the page, which asks for one, and the check whether the service runs."""
_READING = {"/", "/v1/search", "/v1/embeddings", "/embed", "/embed_sparse", "/rerank", "/v1/rerank", "/v2/rerank"}
"""Paths to which keys with the scope read may send POST. Everything else but GET and HEAD needs the scope write."""
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BODY_SECONDS = 10.0
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class Gate:
    """ASGI middleware that checks requests, adds headers to responses, and logs and measures both.

    The body of a request is read completely before it is passed on, within ``limits.body_bytes`` and 10 seconds. Logs
    contain the route, never the path, the query, texts or keys.

    Args:
        application: The application.
        keys: The accepted API keys.
        limits: What a request may cost.
        metrics: Receives the time of each request.
        hosts: Accepted values of the header Host without port; empty for all. A page of another site, whose name was
            made to resolve to this machine, can therefore not read what is served without keys.
        error_body: Function of a path and an error that returns the JSON body of the response.
    """

    def __init__(
        self,
        application: Application,
        keys: ApiKeys,
        limits: Limits,
        metrics: Metrics,
        hosts: Collection[str],
        error_body: Callable[[str, RequestError], Any],
    ) -> None:
        self._application, self._keys, self._limits, self._metrics = application, keys, limits, metrics
        self._hosts, self._error_body = hosts, error_body

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one connection (see the ASGI specification)."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers, began, status = Headers(scope=scope), time.perf_counter(), 500
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        key: ApiKey | None = None

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                raw = {name.lower(): value for name, value in message.get("headers", [])}
                added = {**_HEADERS, "X-Request-Id": request_id}
                if b"cache-control" not in raw:
                    added["Cache-Control"] = "no-store"
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in added.items()),
                ]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "other"  # clients can invent any number
        span = RequestSpan(headers, method, request_id)
        try:
            with span:
                key = self._check(scope, headers)
                body = await self._body(scope, headers, receive)
                scope["state"] = {**scope.get("state", {}), "key": key}
                await self._application(scope, _replayed(body, receive), sent)
        except RequestError as error:
            await self._respond(scope["path"], error, sent)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - began
            span.end(route, status)
            self._metrics.request(route, method, status, seconds)
            entry = {
                "request": request_id,
                "method": method,
                "route": route,
                "status": status,
                "ms": round(1000 * seconds, 1),
                "key": key.name if key else None,
            }
            LOGGER.info(json.dumps(entry))

    def _check(self, scope: MutableMapping[str, Any], headers: Headers) -> ApiKey | None:
        """Return the key of a request. Raises RequestError if the request must not be processed."""
        path, method = scope["path"], scope["method"]
        if any(ord(character) < 32 or ord(character) == 127 for character in path):
            raise MalformedError("the path contains a control character")
        if self._hosts and _host_of(headers.get("host", "")) not in self._hosts:
            raise ForbiddenError("the service does not answer under this host name. Start it with --allowed_hosts")
        if _PUBLIC.fullmatch(path) and method in ("GET", "HEAD"):
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = self._keys.find(bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key"))
        if key is None:
            raise UnauthorizedError
        reads = method in ("GET", "HEAD") or (method == "POST" and path in _READING)
        if not reads and key.scope != "write":
            raise ForbiddenError("this API key may only read")
        if (rate := self._limits.requests_per_second) and (wait := key.may_send(rate)):
            raise OverloadedError(f"this API key may send {rate:g} requests per second", wait)
        return key

    async def _body(self, scope: MutableMapping[str, Any], headers: Headers, receive: Receive) -> bytes:
        """Read the body. Raises RequestError if it is too large, too slow or no JSON."""
        limit, parts, size = self._limits.body_bytes, list[bytes](), 0
        message = f"the body has more than {limit:,} bytes"
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > limit:
            raise TooLargeError(message)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while True:
                    part = await receive()
                    if part["type"] == "http.disconnect":
                        raise SlowBodyError("the client has closed the connection")
                    parts.append(part.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise TooLargeError(message)
                    if not part.get("more_body"):
                        break
        except TimeoutError as error:
            raise SlowBodyError(f"the body did not arrive within {_BODY_SECONDS:g} seconds") from error
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if size and kind != "application/json":  # also keeps forms of other sites from changing documents
            raise UnsupportedMediaTypeError("the body must be JSON, with the header Content-Type: application/json")
        body = b"".join(parts)
        _check_text(body)
        return body

    async def _respond(self, path: str, error: RequestError, send: Send) -> None:
        body = json.dumps(self._error_body(path, error)).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": error.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def _check_text(body: bytes) -> None:
    """Raise InvalidError if JSON contains what no file can: half of a surrogate pair, NaN, or an infinite number."""
    try:
        json.dumps(json.loads(body), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidError("a text contains half of a surrogate pair, such as \\ud800 alone") from error
    except ValueError as error:
        if "JSON compliant" in str(error):
            raise InvalidError("a number is NaN or infinite") from error
        # all other faults of JSON are reported by the protocol of the path
    except RecursionError as error:
        raise MalformedError("the body is nested too deeply") from error


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a function that first returns the body, and then what the client sends, such as that it has left."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _host_of(value: str) -> str:
    """Return the name in a header Host, without the port: ``localhost``, ``::1``."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower()

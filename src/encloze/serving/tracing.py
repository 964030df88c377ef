"""Spans of requests for OpenTelemetry, if it is installed and configured."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_IS_INSTALLED = importlib.util.find_spec("opentelemetry") is not None
_SERVER_ERROR = 500


class RequestSpan(AbstractContextManager[None]):
    """The span of a request, which is current in the ``with`` block and ends when ``end`` is called.

    It continues the trace that the request names (``traceparent``). Its attributes are method, route, status and id of
    the request: no path, query or text. If OpenTelemetry is not installed or not configured, it does nothing.

    Args:
        headers: The headers of the request.
        method: The method of the request.
        request_id: The id of the request in logs.
    """

    def __init__(self, headers: Mapping[str, str], method: str, request_id: str) -> None:
        self._span: Any = None
        self._method = method
        self._current: AbstractContextManager[Any] = nullcontext()
        if not _IS_INSTALLED:
            return
        from opentelemetry import propagate, trace

        tracer, parent = trace.get_tracer("encloze.serving"), propagate.extract(dict(headers))
        self._span = tracer.start_span(method, context=parent, kind=trace.SpanKind.SERVER)
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("encloze.request_id", request_id)
        self._current = trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def __enter__(self) -> None:
        self._current.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._current.__exit__(*error)

    def end(self, route: str, status: int) -> None:
        """End the span.

        Args:
            route: A path with names of parameters, such as ``/v1/documents/{id}``.
            status: The status of the response.
        """
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

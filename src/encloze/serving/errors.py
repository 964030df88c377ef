"""Errors of requests, with the HTTP status that they are answered with."""

from __future__ import annotations

from typing import ClassVar

from encloze.errors import RecipeError


class RequestError(Exception):
    """A request that cannot be served. Each protocol has its own JSON shape for it.

    Attributes:
        status: HTTP status of the response.
        kind: Short name of the error, for programs.
        headers: Additional headers of the response.
    """

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "invalid_request"

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message, self.headers = message, headers or {}


class MalformedError(RequestError):
    """The request is not a request of HTTP or JSON that can be read."""

    status, kind = 400, "malformed"


class UnauthorizedError(RequestError):
    """The API key is missing or wrong."""

    status, kind = 401, "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "a valid API key is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            {"WWW-Authenticate": "Bearer"},
        )


class ForbiddenError(RequestError):
    """The API key does not allow the request."""

    status, kind = 403, "forbidden"


class NotFoundError(RequestError):
    """There is no such path, collection or document."""

    status, kind = 404, "not_found"


class ConflictError(RequestError):
    """The request contradicts what is stored, or another process is changing it."""

    status, kind = 409, "conflict"


class TooLargeError(RequestError):
    """The body is larger than allowed."""

    status, kind = 413, "too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body is not JSON."""

    status, kind = 415, "unsupported_media_type"


class InvalidError(RequestError):
    """A field of the request is missing or has a wrong value."""

    status, kind = 422, "validation"


class OverloadedError(RequestError):
    """Too many requests wait, or the key has used its rate."""

    status, kind = 429, "overloaded"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, {"Retry-After": str(max(1, round(retry_after)))})


class ServiceError(RequestError):
    """The service failed: an error of the program, of the disk or of a damaged file."""

    status, kind = 500, "internal"


class TimedOutError(RequestError):
    """The request was not processed in time."""

    status, kind = 504, "timeout"


class SlowBodyError(RequestError):
    """The body did not arrive in time."""

    status, kind = 408, "timeout"


def faults_of(error: RecipeError) -> str:
    """Return what is wrong with the arguments of a search, without the program's name for their source."""
    return "; ".join(f"{path}: {message}" for path, message in error.faults)

"""Interface of protocols: paths of an HTTP service, with the JSON shapes of requests, responses and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from encloze.family import Family

if TYPE_CHECKING:
    from fastapi import APIRouter

    from encloze.serving.errors import RequestError
    from encloze.serving.service import Service


@dataclass(frozen=True)
class Protocol(Family):
    """Base class of protocols."""

    paths: ClassVar[tuple[str, ...]]
    """The paths whose errors have the shape of this protocol, also if no function of it was reached. A path that ends
    with * stands for all paths that begin with what precedes it."""

    def router(self, service: Service) -> APIRouter:
        """Return the functions that serve the paths."""
        raise NotImplementedError(type(self).__name__)

    def error_body(self, error: RequestError) -> Any:
        """Return the JSON body of an error."""
        raise NotImplementedError(type(self).__name__)

    def has(self, path: str) -> bool:
        """Return whether errors on a path have the shape of this protocol."""
        return any(path == own or (own.endswith("*") and path.startswith(own[:-1])) for own in self.paths)

"""HTTP applications: routes, a page, and the gate in front of them; and the one that serves all protocols."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from encloze.serving.errors import InvalidError, MalformedError, NotFoundError, RequestError
from encloze.serving.gate import Application, Gate
from encloze.serving.keys import ApiKeys
from encloze.serving.protocols.base import Protocol
from encloze.serving.service import Service

_PAGE_FILES = {
    "common.js": "text/javascript",
    "search.js": "text/javascript",
    "label.js": "text/javascript",
    "page.css": "text/css",
}
_FALLBACK = "native"


class _MethodNotAllowedError(RequestError):
    status, kind = 405, "method_not_allowed"


def create_app(service: Service, keys: ApiKeys | None = None, hosts: Collection[str] = ()) -> Application:
    """Return the ASGI application of a service.

    Args:
        service: What is served.
        keys: API keys; None for everybody.
        hosts: Accepted host names in requests; empty for all (see ``Gate``).

    Example:
        >>> from encloze.encoders.base import load_encoder
        >>> app = create_app(Service({}, load_encoder("minilm"), None))
    """
    protocols = [Protocol.member(name)() for name in Protocol.members()]

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    def error_body(path: str, error: RequestError) -> Any:
        fitting = [protocol for protocol in protocols if protocol.has(path) and protocol.name != _FALLBACK]
        return (fitting[0] if fitting else Protocol.member(_FALLBACK)()).error_body(error)

    routers = [protocol.router(service) for protocol in protocols]
    app = application("search.html", routers, error_body, "Search, embeddings and re-ranking.", lifespan)
    return Gate(app, keys or ApiKeys(), service.limits, service.metrics, hosts, error_body)


def application(
    page: str,
    routers: Sequence[APIRouter],
    error_body: Callable[[str, RequestError], Any],
    description: str,
    lifespan: Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Return an application with a page at ``/``, to be protected by a ``Gate``.

    Args:
        page: Name of the page's file.
        routers: Functions that serve other paths.
        error_body: Function of a path and an error that returns the JSON body of the response.
        description: Description in ``/openapi.json``.
        lifespan: Context in which requests are processed.
    """
    app = FastAPI(
        title="encloze",
        description=description,
        redirect_slashes=False,  # the address of the redirection would contain the header Host
        docs_url=None,  # the pages of FastAPI load scripts from other sites
        redoc_url=None,
        lifespan=lifespan,
    )
    for router in routers:
        app.include_router(router)
    _add_page(app, page)
    _add_error_handlers(app, [app.router, *routers], error_body)
    return app


def _add_error_handlers(app: FastAPI, routers: Sequence[Any], error_body: Callable[[str, RequestError], Any]) -> None:
    """Answer errors in the JSON shape of the protocol of the path, which ``error_body`` returns."""

    def allowed(request: Request) -> str:
        """Return the methods of all functions of a path."""
        routes = (route for router in routers for route in router.routes if getattr(route, "methods", None))
        fitting = (route.methods for route in routes if route.matches(request.scope)[0] != Match.NONE)
        return ", ".join(sorted(set().union(*fitting)))

    def respond(request: Request, error: RequestError) -> JSONResponse:
        return JSONResponse(error_body(request.url.path, error), error.status, error.headers)

    @app.exception_handler(RequestError)
    async def on_request_error(request: Request, error: RequestError) -> JSONResponse:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = []
        for fault in error.errors()[:5]:
            place = ".".join(map(str, fault["loc"][1:]))  # the first part is where it stands, such as body
            faults.append(f"{place}: {fault['msg']}" if place else str(fault["msg"]))
        kind = MalformedError if any(fault["type"] == "json_invalid" for fault in error.errors()) else InvalidError
        return respond(request, kind("; ".join(faults)))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        kinds: dict[int, RequestError] = {
            404: NotFoundError("there is no such path"),
            405: _MethodNotAllowedError("the path does not support this method", {"Allow": allowed(request)}),
        }
        return respond(request, kinds.get(error.status_code) or MalformedError(str(error.detail)))


def _add_page(app: FastAPI, name: str) -> None:
    """Add a page. Its files are read by name, so that no path of a request reaches the disk."""
    folder = Path(str(files("encloze.serving"))) / "page"

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(folder / name, media_type="text/html")

    @app.api_route("/page/{file}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page_file(file: str) -> FileResponse:
        if file not in _PAGE_FILES:
            raise NotFoundError("there is no such file")
        return FileResponse(folder / file, media_type=_PAGE_FILES[file])

"""How commands serve an application over HTTP: its address, API keys and log."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from encloze import progress
from encloze.errors import RecipeError, importable

if TYPE_CHECKING:
    from encloze.serving.gate import Application
    from encloze.serving.keys import ApiKeys


def serve_http(
    host: str,
    port: int,
    api_keys: Path | None,
    allowed_hosts: Collection[str],
    seconds: float,
    create: Callable[[ApiKeys, Collection[str]], Application],
) -> None:
    """Serve an application until the process gets SIGINT or SIGTERM.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        api_keys: File of API keys; None for those in the environment.
        allowed_hosts: Accepted host names; by default, without API keys only those of this machine, and with keys any.
        seconds: Time that accepted requests have to finish at the end.
        create: Function of the API keys and the accepted host names that returns the application.

    Raises:
        RecipeError: The address cannot be used, or other machines can reach it and there are no API keys.
        MissingExtraError: The extra ``serve`` is not installed.
    """
    keys = checked_keys(host, api_keys)
    from encloze.serving.server import address_of, http_server, listen

    hosts = allowed_hosts or (() if keys else ("localhost", "127.0.0.1", "::1"))
    with listen(host, port) as listening:
        app = create(keys, {host.lower() for host in hosts})
        _log_to_stderr()
        progress.note(f"Serving on {address_of(listening)}")
        http_server(app, seconds).run(sockets=[listening])


def checked_keys(host: str, api_keys: Path | None) -> ApiKeys:
    """Return the API keys. Raises RecipeError and MissingExtraError as ``serve_http``."""
    for package in ("uvicorn", "fastapi", "prometheus_client"):
        importable(package, "serve")
    from encloze.serving.keys import VARIABLE, ApiKeys

    keys = ApiKeys.load(api_keys)
    if not keys and not _is_loopback(host):
        message = (
            f"{host} can be reached from other machines, and there are no API keys. Give a file of keys "
            f"(--api_keys) or set {VARIABLE}, or listen on 127.0.0.1"
        )
        raise RecipeError("the recipe", [("host", message)])
    return keys


def _log_to_stderr() -> None:
    """Write the log of the service, one JSON object for each request, to the standard error output."""
    logger, handler = logging.getLogger("encloze.serving"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [handler], False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"

"""The HTTP server, uvicorn, with the settings that the service needs."""

from __future__ import annotations

import uvicorn

from encloze.serving.gate import Application

_MAX_HEAD_BYTES = 65_536


def http_server(application: Application, host: str, port: int, seconds: float) -> uvicorn.Server:
    """Return a server, which is not running yet.

    Args:
        application: The application (``create_app``).
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        seconds: Time that accepted requests have to finish when the server stops.

    Example:
        >>> from encloze.encoders.base import load_encoder
        >>> from encloze.serving.app import create_app
        >>> from encloze.serving.service import Service
        >>> app = create_app(Service({}, load_encoder("minilm"), None))
        >>> http_server(app, "127.0.0.1", 8080, seconds=30).config.port
        8080
    """
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_level="error",
        access_log=False,  # it would contain the queries in addresses
        server_header=False,
        timeout_graceful_shutdown=int(seconds) + 5,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    return uvicorn.Server(config)

"""Serve indexes and models over HTTP, with a search page."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from encloze import progress
from encloze.commands.base import Command
from encloze.encoders.base import load_encoder, load_reranker
from encloze.errors import RecipeError, importable
from encloze.serving.limits import Limits
from encloze.settings import PositiveInt, Range

if TYPE_CHECKING:
    from encloze.serving.service import Service


@dataclass(frozen=True)
class Serve(Command, name="serve"):
    """Serve indexes and models over HTTP, with a search page.

    The service runs until it gets SIGINT (Ctrl-C) or SIGTERM. It then finishes the requests that it has accepted.

    Example:
        >>> Serve(index=["my_index"], port=8080).run()
    """

    index: tuple[Path, ...] = ()
    """Index folders to search, written by the command index. Each is a collection with the name of its folder."""
    model: str | None = None
    """Encoder of the embeddings that clients ask for: a model folder or a hub id. By default the model of the first
    index. If the model of an index was moved, give its new path here."""
    reranker: str | None = None
    """Cross-encoder that re-ranks the best documents of searches and texts that clients send."""
    rerank_depth: PositiveInt = 50
    """Number of documents of a search that the re-ranker scores."""
    host: str = "127.0.0.1"
    """Address to listen on. Other addresses than those of this machine itself (loopback) need API keys."""
    port: Annotated[int, Range(ge=0, le=65535)] = 8080
    """Port to listen on; 0 for any free one."""
    api_keys: Path | None = None
    """File of API keys, with NAME SCOPE KEY in each line; the scope is read or write. By default the environment
    variable ENCLOZE_API_KEYS, in which commas separate keys."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names under which clients reach the service. By default, without API keys only localhost, and with keys
    any."""
    judgments: Path | None = None
    """Folder in which judgments of users are stored, those of each index in a folder with the name of the index."""
    limits: Limits = field(default_factory=Limits)
    """What a request may cost."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the models' matrix multiplications; auto uses bfloat16 if the hardware supports it."""

    def __post_init__(self) -> None:
        if not self.index and not self.model and not self.reranker:
            raise ValueError("there is nothing to serve. Give an index, a model or a reranker")
        if self.judgments and not self.index:
            raise ValueError("judgments are given for results of an index. Give an index, or leave judgments out")
        names = [folder.name for folder in self.index]
        if len(set(names)) < len(names):
            raise ValueError(f"the index folders must have different names, not {', '.join(names)}")

    def run(self) -> None:
        for package in ("uvicorn", "fastapi", "prometheus_client"):
            importable(package, "serve")
        from encloze.serving.app import create_app
        from encloze.serving.keys import VARIABLE, ApiKeys
        from encloze.serving.server import address_of, http_server, listen

        keys = ApiKeys.load(self.api_keys)
        if not keys and not _is_loopback(self.host):
            message = (
                f"{self.host} can be reached from other machines, and there are no API keys. Give a file of keys "
                f"(--api_keys) or set {VARIABLE}, or listen on 127.0.0.1"
            )
            raise RecipeError("the recipe", [("host", message)])
        hosts = self.allowed_hosts or (() if keys else ("localhost", "127.0.0.1", "::1"))
        with listen(self.host, self.port) as listening:
            app = create_app(self._service(), keys, {host.lower() for host in hosts})
            _log_to_stderr()
            progress.note(f"Serving on {address_of(listening)}")
            http_server(app, self.limits.seconds).run(sockets=[listening])

    def _service(self) -> Service:
        from encloze.serving.collections import Collection
        from encloze.serving.judgments import JudgmentFile
        from encloze.serving.service import Service

        encoder = load_encoder(self.model, self.precision) if self.model else None
        reranker = load_reranker(self.reranker, self.precision) if self.reranker else None
        collections = {
            folder.name: Collection(folder.name, folder, encoder, reranker, self.rerank_depth, self.precision)
            for folder in self.index
        }
        judgments = {name: JudgmentFile(self.judgments / name) for name in collections} if self.judgments else {}
        return Service(collections, encoder, reranker, judgments, self.limits)


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

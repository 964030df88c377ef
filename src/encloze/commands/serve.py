"""Serve indexes and models over HTTP, with a search page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from encloze.commands._http import serve_http
from encloze.commands.base import Command
from encloze.encoders.base import load_encoder, load_reranker
from encloze.serving.limits import Limits
from encloze.settings import PositiveInt, Range

if TYPE_CHECKING:
    from encloze.serving.gate import Application
    from encloze.serving.keys import ApiKeys
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
        def create(keys: ApiKeys, hosts: Collection[str]) -> Application:
            from encloze.serving.app import create_app

            return create_app(self._service(), keys, hosts)

        serve_http(self.host, self.port, self.api_keys, self.allowed_hosts, self.limits.seconds, create)

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

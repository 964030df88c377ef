"""The protocol of text-embeddings-inference (TEI): /embed, /embed_sparse, /rerank, /info and /metrics."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from encloze.serving.collections import public_name
from encloze.serving.errors import InvalidError, NotFoundError, RequestError
from encloze.serving.protocols._shared import Body, Text, check_texts, error_responses
from encloze.serving.protocols.base import Protocol
from encloze.serving.service import Service
from encloze.text.encoding import Side

_KINDS = {413: "validation", 422: "validation", 424: "backend", 429: "overloaded", 500: "backend", 504: "backend"}


class Error(BaseModel):
    """Body of an error response."""

    error: str
    error_type: str


class EmbedRequest(Body):
    """Texts to encode. ``prompt_name`` is query or document (the default). Long texts are always truncated."""

    inputs: Text | list[Text]
    normalize: bool = True
    truncate: Literal[True] | None = None
    prompt_name: Literal["query", "document", "passage"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None

    def texts(self) -> list[str]:
        """Return the texts as a list."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs

    @property
    def side(self) -> Side:
        """Whether the texts are queries or documents."""
        return "query" if self.prompt_name == "query" else "document"


class TermWeight(BaseModel):
    """The weight of a token of the vocabulary."""

    index: int
    value: float


class RerankRequest(Body):
    """Texts to rank for a query."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    texts: list[Text]
    raw_scores: bool = False
    return_text: bool = False
    truncate: Literal[True] | None = None


class Rank(BaseModel):
    """The score of a text: the sigmoid of the re-ranker's score, or with ``raw_scores`` the score itself."""

    index: int
    score: float
    text: str | None = None


class Info(BaseModel):
    """Description of the service."""

    model_id: str | None
    model_dtype: str | None
    max_client_batch_size: int
    version: str


@dataclass(frozen=True)
class Tei(Protocol, name="tei"):
    """Embeddings, term weights and re-ranking in the JSON shapes of text-embeddings-inference."""

    paths: ClassVar[tuple[str, ...]] = ("/", "/embed", "/embed_sparse", "/rerank", "/info", "/metrics")

    def error_body(self, error: RequestError) -> Any:
        """Return ``{"error": ..., "error_type": ...}``."""
        return {"error": error.message, "error_type": _KINDS.get(error.status, error.kind)}

    def router(self, service: Service) -> APIRouter:
        """Return the functions that serve the paths."""
        router = APIRouter(responses=error_responses(Error), tags=["text-embeddings-inference"])
        _add_encoding(router, service)

        @router.post("/rerank", response_model=list[Rank], response_model_exclude_none=True)
        async def rerank(body: RerankRequest, request: Request) -> Any:
            """Rank texts for a query, most relevant first."""
            check_texts(body.texts, service.limits.texts)
            scores = await service.rerank(request, body.query, body.texts)
            order = np.argsort(-scores, kind="stable")
            shown = scores if body.raw_scores else service.relevance(scores)
            return [
                {
                    "index": int(place),
                    "score": float(shown[place]),
                    "text": body.texts[place] if body.return_text else None,
                }
                for place in order
            ]

        @router.get("/info", response_model=Info)
        async def info() -> Any:
            """Return the model and the limits of the service."""
            encoder = service.encoder
            return {
                "model_id": public_name(encoder) if encoder else None,
                "model_dtype": encoder.arithmetic.partition(" ")[0] if encoder else None,
                "max_client_batch_size": service.limits.texts,
                "version": importlib.metadata.version("encloze"),
            }

        @router.get("/metrics", response_class=Response)
        async def metrics() -> Response:
            """Return metrics in the format of Prometheus."""
            return Response(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

        return router


def _add_encoding(router: APIRouter, service: Service) -> None:
    async def embed(body: EmbedRequest, request: Request) -> Any:
        _require(service, "dense", "embeddings")
        texts = body.texts()
        check_texts(texts, service.limits.texts)
        vectors = (await service.encode(request, body.side, texts)).dense
        if body.dimensions and body.dimensions > vectors.shape[1]:
            raise InvalidError(f"dimensions: the embeddings have {vectors.shape[1]}, not {body.dimensions}")
        vectors = vectors[:, : body.dimensions]
        if body.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(lengths > 0, lengths, 1)
        return vectors.tolist()

    @router.post("/embed", response_model=list[list[float]])
    async def embed_texts(body: EmbedRequest, request: Request) -> Any:
        """Return the embeddings of texts."""
        return await embed(body, request)

    @router.post("/", response_model=list[list[float]])
    async def embed_at_root(body: EmbedRequest, request: Request) -> Any:
        """Return the embeddings of texts, as ``/embed`` does."""
        return await embed(body, request)

    @router.post("/embed_sparse", response_model=list[list[TermWeight]])
    async def embed_sparse(body: EmbedRequest, request: Request) -> Any:
        """Return the term weights of texts that are not 0."""
        _require(service, "sparse", "term weights")
        texts = body.texts()
        check_texts(texts, service.limits.texts)
        weights = (await service.encode(request, body.side, texts)).sparse
        return [
            [{"index": int(term), "value": float(value)} for term, value in zip(row.indices, row.data, strict=True)]
            for row in weights
        ]


def _require(service: Service, view: str, name: str) -> None:
    if service.encoder is None or view not in service.encoder.views:
        raise NotFoundError(f"the service has no model that computes {name}")

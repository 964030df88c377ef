"""The protocol of re-rankers of Cohere and Jina: POST /v1/rerank and /v2/rerank."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from encloze.serving.errors import RequestError
from encloze.serving.protocols._shared import Body, Text, check_texts, error_responses
from encloze.serving.protocols.base import Protocol
from encloze.serving.service import Service


class Error(BaseModel):
    """Body of an error response."""

    message: str


class TextDocument(Body):
    """A document with its text."""

    text: Text


class RerankRequest(Body):
    """Documents to rank for a query."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    documents: list[Text | TextDocument]
    model: str | None = None
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False


class Result(BaseModel):
    """The relevance of a document: the sigmoid of the re-ranker's score, from 0 to 1."""

    index: int
    relevance_score: float
    document: TextDocument | None = None


class Meta(BaseModel):
    """Version of the protocol."""

    api_version: dict[str, str]
    billed_units: dict[str, int]


class RerankResponse(BaseModel):
    """The documents, most relevant first."""

    id: str
    results: list[Result]
    meta: Meta


@dataclass(frozen=True)
class Cohere(Protocol, name="cohere"):
    """Re-ranking in the JSON shapes of Cohere, which Jina and vLLM also use."""

    paths: ClassVar[tuple[str, ...]] = ("/v1/rerank", "/v2/rerank")

    def error_body(self, error: RequestError) -> Any:
        """Return ``{"message": ...}``."""
        return {"message": error.message}

    def router(self, service: Service) -> APIRouter:
        """Return the functions that serve the paths."""
        router = APIRouter(responses=error_responses(Error), tags=["cohere"])

        async def rerank(body: RerankRequest, request: Request, version: str) -> Any:
            texts = [each if isinstance(each, str) else each.text for each in body.documents]
            check_texts(texts, service.limits.texts)
            scores = await service.rerank(request, body.query, texts)
            order, relevance = np.argsort(-scores, kind="stable")[: body.top_n], service.relevance(scores)
            results = [
                {
                    "index": int(place),
                    "relevance_score": float(relevance[place]),
                    "document": {"text": texts[place]} if body.return_documents else None,
                }
                for place in order
            ]
            meta = {"api_version": {"version": version}, "billed_units": {"search_units": 1}}
            return {"id": str(uuid.uuid4()), "results": results, "meta": meta}

        @router.post("/v1/rerank", response_model=RerankResponse, response_model_exclude_none=True)
        async def rerank_1(body: RerankRequest, request: Request) -> Any:
            """Rank documents for a query (version 1, and Jina)."""
            return await rerank(body, request, "1")

        @router.post("/v2/rerank", response_model=RerankResponse, response_model_exclude_none=True)
        async def rerank_2(body: RerankRequest, request: Request) -> Any:
            """Rank documents for a query (version 2)."""
            return await rerank(body, request, "2")

        return router

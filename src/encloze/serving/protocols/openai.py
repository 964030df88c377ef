"""The protocol of OpenAI's embeddings: POST /v1/embeddings and GET /v1/models."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from encloze.encoders.base import Encoder
from encloze.serving.collections import public_name
from encloze.serving.errors import InvalidError, NotFoundError, RequestError
from encloze.serving.protocols._shared import Body, Text, check_texts, error_responses
from encloze.serving.protocols.base import Protocol
from encloze.serving.service import Service
from encloze.text.encoding import Side

_SIDES: dict[str, Side] = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
}


class ErrorContent(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Error(BaseModel):
    """Body of an error response."""

    error: ErrorContent


class EmbeddingRequest(Body):
    """Texts to encode. ``input_type`` is an extension: whether they are queries or documents (the default)."""

    input: Text | list[Text]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    input_type: Literal["query", "search_query", "document", "passage", "search_document"] = "document"
    user: str | None = None


class Embedding(BaseModel):
    """The embedding of a text: a list of numbers, or base64 of little-endian float32 numbers."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Number of tokens that the encoder read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """Embeddings in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """A model of the service."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "encloze"


class Models(BaseModel):
    """All models of the service."""

    object: Literal["list"] = "list"
    data: list[Model]


@dataclass(frozen=True)
class OpenAi(Protocol, name="openai"):
    """Embeddings and models in the JSON shapes of OpenAI."""

    paths: ClassVar[tuple[str, ...]] = ("/v1/embeddings", "/v1/models")

    def error_body(self, error: RequestError) -> Any:
        """Return ``{"error": {"message": ..., "type": ..., "param": null, "code": ...}}``."""
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        return {"error": {"message": error.message, "type": kind, "param": None, "code": error.kind}}

    def router(self, service: Service) -> APIRouter:
        """Return the functions that serve the paths."""
        router, started = APIRouter(responses=error_responses(Error), tags=["openai"]), int(time.time())

        @router.post("/v1/embeddings", response_model=EmbeddingResponse)
        async def embeddings(body: EmbeddingRequest, request: Request) -> Any:
            """Return the embeddings of texts."""
            encoder = _dense_encoder(service)
            texts, side = [body.input] if isinstance(body.input, str) else body.input, _SIDES[body.input_type]
            check_texts(texts, service.limits.texts)
            vectors = (await service.encode(request, side, texts)).dense
            if body.dimensions:
                vectors = shortened(vectors, body.dimensions)
            count = encoder.count_tokens(texts, side)
            return {
                "data": [
                    {"index": number, "embedding": _encoded(row, body.encoding_format)}
                    for number, row in enumerate(vectors)
                ],
                "model": public_name(encoder),
                "usage": {"prompt_tokens": count, "total_tokens": count},
            }

        @router.get("/v1/models", response_model=Models)
        async def models() -> Any:
            """Return the models of the service."""
            known = [public_name(each) for each in (service.encoder, service.reranker) if each]
            return {"data": [{"id": name, "created": started} for name in known]}

        return router


def shortened(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Return the first dimensions of embeddings, normalized to length 1, as OpenAI does.

    Raises:
        InvalidError: The embeddings have fewer dimensions.
    """
    if dimensions > vectors.shape[1]:
        raise InvalidError(f"dimensions: the embeddings have {vectors.shape[1]} dimensions, not {dimensions}")
    cut = vectors[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return np.asarray(cut / np.where(lengths > 0, lengths, 1), np.float32)


def _dense_encoder(service: Service) -> Encoder:
    if service.encoder is None or "dense" not in service.encoder.views:
        raise NotFoundError("the service has no model that computes embeddings")
    return service.encoder


def _encoded(row: np.ndarray, encoding: str) -> list[float] | str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding == "base64" else row.tolist()

"""The protocol of encloze: search with explanations, changes of documents, collections, and judgments."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from encloze.data.filters import Filter
from encloze.data.records import Hit
from encloze.errors import RecipeError
from encloze.reporting.query_examples import content_words, highlight
from encloze.retrieval.results import Hits
from encloze.serving.collections import SearchOptions
from encloze.serving.errors import InvalidError, RequestError, faults_of
from encloze.serving.protocols._shared import Body, Text, error_responses
from encloze.serving.protocols.base import Protocol
from encloze.serving.service import Service

_PASSAGE = 320  # characters
_MAX_DOCUMENTS = 1000


class ErrorContent(BaseModel):
    """What went wrong."""

    code: str
    message: str


class Error(BaseModel):
    """Body of an error response."""

    error: ErrorContent


class SearchRequest(Body):
    """A search."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    collection: str | None = None
    k: Annotated[int, Field(ge=1, le=100)] = 10
    depth: Annotated[int, Field(ge=1, le=1000)] = 100
    filter: str | dict[str, Any] | None = None
    views: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1e6)], ...], Field(max_length=16)] = ()
    rerank: bool | None = None
    explain: bool = False
    passage_aggregation: Literal["none", "max", "sum"] = "none"
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0

    def options(self, collection: str, *, can_rerank: bool) -> SearchOptions:
        """Return the settings of the search, without its query. Raises InvalidError if the filter cannot be read."""
        try:
            condition = Filter.of(self.filter).expression if self.filter else ""
        except RecipeError as error:
            raise InvalidError(faults_of(error)) from error
        return SearchOptions(
            collection=collection,
            views=self.views,
            weights=self.weights,
            rerank=can_rerank if self.rerank is None else self.rerank,
            k=self.k,
            depth=max(self.depth, self.k),
            filter=condition,
            explain=self.explain,
            passage_aggregation=self.passage_aggregation,
            diversity=self.diversity,
        )


class ViewPart(BaseModel):
    """What one index contributes to a hit."""

    name: str
    score: float
    rank: int | None
    weight: float | None
    terms: dict[str, float]


class FoundDocument(BaseModel):
    """A hit. ``passage`` is the part of the text with the most words of the query, in pieces: [text, is a match]."""

    id: str
    score: float
    title: str
    text: str
    source: str | None
    position: int | None
    fields: dict[str, Any]
    parts: dict[str, float]
    passage: list[tuple[str, bool]]
    explanation: list[ViewPart] | None
    grade: int | None


class Answer(BaseModel):
    """Whether the collection probably answers the query."""

    probability: float
    is_likely: bool


class SearchResponse(BaseModel):
    """The hits of a query, best first."""

    query: str
    collection: str
    milliseconds: float
    answer: Answer | None
    hits: list[FoundDocument]


class NewDocument(Body):
    """A document to store. All other fields can be used in filters."""

    id: Annotated[str, Field(min_length=1, max_length=1000)]
    text: Text
    title: Annotated[str, Field(max_length=10_000)] = ""
    source: str | None = None
    position: int | None = None
    fields: Annotated[dict[str, Any], Field(default_factory=dict)]


class NewDocuments(Body):
    """Documents to store."""

    documents: Annotated[list[NewDocument], Field(min_length=1, max_length=_MAX_DOCUMENTS)]
    collection: str | None = None
    replace: bool = True


class DeletedDocuments(Body):
    """Ids of documents to delete."""

    ids: Annotated[list[str], Field(min_length=1, max_length=_MAX_DOCUMENTS)]
    collection: str | None = None


class Change(BaseModel):
    """What a change did. It is on disk."""

    documents: int
    added: int
    replaced: int
    deleted: int
    missing: list[str]


class StoredDocument(BaseModel):
    """A document of a collection."""

    id: str
    title: str
    text: str
    source: str | None
    position: int | None
    fields: dict[str, Any]


class CollectionDescription(BaseModel):
    """A collection."""

    name: str
    documents: int
    views: list[str]
    model: str | None
    fields: list[str]
    can_rerank: bool


class Collections(BaseModel):
    """All collections of the service."""

    collections: list[CollectionDescription]
    judgments: bool


class JudgmentRequest(Body):
    """A judgment of a document for a query; the grade null removes it."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    document: Annotated[str, Field(min_length=1, max_length=1000)]
    grade: Annotated[int, Field(ge=0, le=10)] | None
    collection: str | None = None


class Done(BaseModel):
    """A request was carried out."""

    status: Literal["ok"] = "ok"


@dataclass(frozen=True)
class Native(Protocol, name="native"):
    """Search, documents, collections and judgments of encloze."""

    paths: ClassVar[tuple[str, ...]] = ("/v1/*", "/health")

    def error_body(self, error: RequestError) -> Any:
        """Return ``{"error": {"code": ..., "message": ...}}``."""
        return {"error": {"code": error.kind, "message": error.message}}

    def router(self, service: Service) -> APIRouter:
        """Return the functions that serve the paths."""
        router = APIRouter(responses=error_responses(Error), tags=["encloze"])
        _add_search(router, service)
        _add_documents(router, service)

        @router.head("/health", include_in_schema=False)
        @router.get("/health", response_model=Done)
        async def health() -> Any:
            """Return 200 if the service is running."""
            return Done()

        @router.get("/v1/collections", response_model=Collections)
        async def collections() -> Any:
            """Return the collections of the service."""
            described = []
            for collection in service.collections.values():
                info = collection.info()
                described.append({**info._asdict(), "can_rerank": collection.can_rerank})
            return {"collections": described, "judgments": bool(service.judgments)}

        @router.post("/v1/judgments", response_model=Done)
        async def judge(body: JudgmentRequest) -> Any:
            """Store how relevant a document is to a query."""
            name = service.collection(body.collection).name
            await service.judge(name, body.query, body.document, body.grade)
            return Done()

        return router


def _add_search(router: APIRouter, service: Service) -> None:
    async def answer(body: SearchRequest, request: Request) -> Any:
        began, collection = time.perf_counter(), service.collection(body.collection)
        if not body.query.strip():
            raise InvalidError("query: the query is empty")
        options = body.options(collection.name, can_rerank=collection.can_rerank)
        hits = await service.search(request, options, body.query)
        grades = service.judgments[collection.name].grades(body.query) if service.judgments else {}
        return {
            "query": body.query,
            "collection": collection.name,
            "milliseconds": round(1000 * (time.perf_counter() - began), 2),
            "answer": hits.answer._asdict() if hits.answer else None,
            "hits": _described(hits, grades),
        }

    @router.post("/v1/search", response_model=SearchResponse)
    async def search(body: SearchRequest, request: Request) -> Any:
        """Search a collection."""
        return await answer(body, request)

    @router.get("/v1/search", response_model=SearchResponse)
    async def search_by_address(
        request: Request,
        query: Annotated[str, Query(min_length=1, max_length=10_000)],
        k: Annotated[int, Query(ge=1, le=100)] = 10,
        collection: str | None = None,
        filter: Annotated[str | None, Query(max_length=10_000)] = None,  # noqa: A002 - name of the parameter
    ) -> Any:
        """Search a collection, with the query in the address."""
        return await answer(SearchRequest(query=query, k=k, collection=collection, filter=filter), request)


def _add_documents(router: APIRouter, service: Service) -> None:
    @router.post("/v1/documents", response_model=Change)
    async def store(body: NewDocuments) -> Any:
        """Add documents, or replace those with the same ids."""
        collection = service.collection(body.collection)
        rows = [_row(document) for document in body.documents]
        change = await service.change(lambda: collection.add(rows, replace=body.replace))
        return _change(change)

    @router.post("/v1/documents/delete", response_model=Change)
    async def delete_many(body: DeletedDocuments) -> Any:
        """Delete documents."""
        collection = service.collection(body.collection)
        return _change(await service.change(lambda: collection.delete(body.ids)))

    @router.get("/v1/documents/{id:path}", response_model=StoredDocument)
    async def read(id: str, collection: str | None = None) -> Any:  # noqa: A002 - name of the parameter
        """Return a document."""
        found = service.collection(collection).document(id)
        return {**found._asdict(), "fields": dict(found.fields)}

    @router.delete("/v1/documents/{id:path}", response_model=Change)
    async def delete(id: str, collection: str | None = None) -> Any:  # noqa: A002
        """Delete a document."""
        target = service.collection(collection)
        target.document(id)  # raises NotFoundError
        return _change(await service.change(lambda: target.delete([id])))


def _row(document: NewDocument) -> dict[str, Any]:
    """Return a document as ``Corpus.from_dicts`` reads it."""
    own = {"id": document.id, "title": document.title, "text": document.text}
    more = {"source": document.source, "position": document.position}
    if reserved := sorted(document.fields.keys() & {*own, *more, "_id", "docid", "doc_id"}):
        raise InvalidError(f"fields: {reserved[0]} is the name of a property of documents. Choose another name")
    _check_numbers(document.fields)
    return {**document.fields, **own, **{name: value for name, value in more.items() if value is not None}}


def _check_numbers(value: Any) -> None:
    """Raise InvalidError if a value of a field contains a whole number of more than 64 bits, which is not stored."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidError("fields: a whole number has more than 64 bits. Send it as text")


def _change(change: Any) -> dict[str, Any]:
    names = ("documents", "added", "replaced", "deleted")
    return {**{name: getattr(change, name) for name in names}, "missing": list(change.missing)}


def _described(hits: Hits, grades: dict[str, int]) -> list[dict[str, Any]]:
    words = content_words(hits.query)
    return [_described_hit(hit, words, grades) for hit in hits]


def _described_hit(hit: Hit, words: set[str], grades: dict[str, int]) -> dict[str, Any]:
    document, explanation = hit.document, hit.explanation
    return {
        "id": hit.id,
        "score": float(hit.score),
        "title": hit.title,
        "text": hit.text,
        "source": document.source if document else None,
        "position": document.position if document else None,
        "fields": dict(hit.fields),
        "parts": {name: float(score) for name, score in hit.parts.items()},
        "passage": highlight(hit.text, words, _PASSAGE),
        "explanation": [view._asdict() for view in explanation.views] if explanation else None,
        "grade": grades.get(hit.id),
    }

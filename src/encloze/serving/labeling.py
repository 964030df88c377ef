"""The application of the labeling page: queries with pooled documents, their grades, and what they show so far."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from encloze.data.corpus import Corpus
from encloze.evaluation.pooled_judgments import PoolComparison, PooledJudgments
from encloze.evaluation.pooling import Pool
from encloze.reporting.query_examples import content_words, highlight
from encloze.serving.app import application
from encloze.serving.errors import InvalidError, NotFoundError, RequestError
from encloze.serving.gate import Application, Gate
from encloze.serving.judgments import JudgmentFile
from encloze.serving.keys import ApiKeys
from encloze.serving.limits import Limits
from encloze.serving.metrics import Metrics
from encloze.serving.protocols._shared import Body, error_responses
from encloze.serving.protocols.native import Done, Error, Native

_PASSAGE = 1200  # characters of a document that are shown at first


class Comparison(BaseModel):
    """What the judgments say about a system compared with the baseline (see ``PoolComparison``)."""

    baseline: str
    system: str
    difference: float
    low: float
    high: float
    minimum_detectable_difference: float
    detectable_with_all: float
    judgments_to_decide: int | None
    queries_to_decide: int | None


class Progress(BaseModel):
    """How many documents are judged, and what follows from it."""

    measure: str
    judged: int
    documents: int
    queries: int
    complete_queries: int
    compared_queries: int
    comparisons: list[Comparison]


class PooledDocument(BaseModel):
    """A document to judge. ``passage`` is the part with the most words of the query, in pieces: [text, is a match]."""

    id: str
    title: str
    passage: list[tuple[str, bool]]
    text: str
    grade: int | None


class QueryToJudge(BaseModel):
    """A query with its pooled documents. ``next`` is the number of the next query that is not complete."""

    number: int
    text: str
    documents: list[PooledDocument]
    next: int | None


class Grades(Body):
    """Grades of documents for a query; null removes one."""

    number: Annotated[int, Field(ge=0)]
    grades: Annotated[dict[str, int | None], Field(min_length=1, max_length=1000)]


class LabelingDescription(BaseModel):
    """What is judged, with which grades: the names of 0, 1 and so on."""

    grades: list[str]
    first: int | None
    progress: Progress


class Labeling:
    """Queries and pooled documents to judge, and the judgments, which are stored at once.

    Args:
        pool: The queries with their documents.
        corpus: Has all pooled documents.
        file: Where judgments are stored. It may already contain some.
        grades: Names of the grades 0, 1 and so on.
    """

    def __init__(self, pool: Pool, corpus: Corpus, file: JudgmentFile, grades: Sequence[str]) -> None:
        self.grade_names, self._pool, self._corpus, self._file = list(grades), pool, corpus, file
        self.judgments, self._lock = PooledJudgments(pool, file.judgments()), threading.Lock()

    def description(self) -> LabelingDescription:
        """Return the names of the grades, the first incomplete query, and the progress."""
        return LabelingDescription(
            grades=self.grade_names, first=self.judgments.next_incomplete(), progress=self.progress()
        )

    def query(self, number: int) -> QueryToJudge:
        """Return a query by its position. Raises NotFoundError if there is none."""
        self._check(number)
        query, grades = self._pool.queries[number].query, self.judgments.grades(number)
        words, documents = content_words(query.text), []
        for id_ in self.judgments.documents(number):
            document = self._corpus[self._corpus.number_of[id_]]
            passage = highlight(document.text, words, _PASSAGE)
            documents.append(
                PooledDocument(id=id_, title=document.title, passage=passage, text=document.text, grade=grades.get(id_))
            )
        following = self.judgments.next_incomplete(number)
        return QueryToJudge(number=number, text=query.text, documents=documents, next=following)

    def judge(self, number: int, grades: Mapping[str, int | None]) -> Progress:
        """Store grades of documents for a query, and return the progress.

        Raises:
            NotFoundError: There is no such query, or a document is not in its pool.
            InvalidError: A grade has no name.
        """
        self._check(number)
        known = set(self.judgments.documents(number))
        if unknown := [id_ for id_ in grades if id_ not in known]:
            raise NotFoundError(f"grades: {unknown[0]!r} is not among the documents of this query")
        if any(grade is not None and not 0 <= grade < len(self.grade_names) for grade in grades.values()):
            raise InvalidError(f"grades: grades are from 0 to {len(self.grade_names) - 1}")
        with self._lock:
            self._file.add({self._pool.queries[number].query.text: grades})
            for document, grade in grades.items():
                self.judgments.judge(number, document, grade)
        return self.progress()

    def progress(self) -> Progress:
        """Return the numbers of judgments and complete queries, and the comparisons of systems."""
        with self._lock:
            judgments = self.judgments
            return Progress(
                measure=judgments.measure,
                judged=judgments.num_judged,
                documents=self._pool.num_documents,
                queries=len(self._pool.queries),
                complete_queries=judgments.num_complete,
                compared_queries=judgments.num_compared,
                comparisons=[_comparison(one) for one in judgments.comparisons()],
            )

    def qrels(self) -> str:
        """Return all judgments in the layout of TREC: query, 0, document and grade."""
        rows = ((query, id_, grade) for query, of in self._file.judgments().items() for id_, grade in of.items())
        return "".join(f"{query}\t0\t{document}\t{grade}\n" for query, document, grade in rows)

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self._pool.queries):
            raise NotFoundError(f"there is no query {number}; there are {len(self._pool.queries)}, from 0")


def create_labeling_app(
    labeling: Labeling, keys: ApiKeys | None = None, hosts: Collection[str] = (), limits: Limits | None = None
) -> Application:
    """Return the ASGI application of the labeling page (see ``create_app``)."""
    router = APIRouter(responses=error_responses(Error), tags=["labeling"])

    @router.get("/v1/labeling", response_model=LabelingDescription)
    def description() -> Any:
        """Return the grades, the first query to judge, and the progress."""
        return labeling.description()

    @router.get("/v1/labeling/queries/{number}", response_model=QueryToJudge)
    def query(number: int) -> Any:
        """Return a query with its pooled documents."""
        return labeling.query(number)

    @router.post("/v1/labeling/grades", response_model=Progress)
    def judge(body: Grades) -> Any:
        """Store grades of documents for a query."""
        return labeling.judge(body.number, body.grades)

    @router.get("/v1/labeling/qrels", response_class=PlainTextResponse)
    def qrels() -> PlainTextResponse:
        """Return all judgments in the layout of TREC."""
        return PlainTextResponse(labeling.qrels())

    @router.get("/health", response_model=Done)
    def health() -> Any:
        """Return 200 if the service is running."""
        return Done()

    def error_body(_: str, error: RequestError) -> Any:
        return Native().error_body(error)

    app = application("label.html", [router], error_body, "Judgments of pooled documents.")
    return Gate(app, keys or ApiKeys(), limits or Limits(), Metrics(), hosts, error_body)


def _comparison(one: PoolComparison) -> Comparison:
    mean, low, high = one.difference
    return Comparison(**{**one._asdict(), "difference": mean, "low": low, "high": high})

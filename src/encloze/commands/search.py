"""Search an index: one query, or a prompt for many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from encloze.commands.base import Command
from encloze.data.records import Document, Hit
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.base import Fusion


@dataclass(frozen=True)
class Found:
    """What one query found."""

    query: str
    hits: list[tuple[Document, Hit]]


@dataclass(frozen=True)
class Prompt:
    """An open index that answers queries one by one."""

    searcher: Retriever
    k: int

    def answer(self, query: str) -> Found:
        return Found(query, self.searcher.search(query, self.k))


@dataclass(frozen=True)
class Search(Command, name="search"):
    """Ask an index with the model that built it; without a query it asks you for one after the other."""

    words: ClassVar[tuple[str, ...]] = ("query",)

    index: Path
    """The index folder."""
    query: str | None = None
    """What to look for."""
    k: int = 5
    """How many documents to show."""
    views: tuple[str, ...] = ()
    """Which views of the index to ask (flat, bm25); all by default."""
    fusion: Fusion | None = None
    """How the rankings of several views become one; by default the model's own sum where all are views of one model,
    and else reciprocal_rank."""
    model: str | None = None
    """Where the model is now, if it was moved since the index was built."""
    reranker: str | None = None
    """A re-ranker that puts the first documents in a new order: a model folder or a hub's id."""
    rerank_depth: int = 50
    """How many documents it scores."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder's products."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be 1 or more, not {self.k}")
        if self.rerank_depth < 1:
            raise ValueError(f"rerank_depth must be 1 or more, not {self.rerank_depth}")

    def run(self) -> Found | Prompt:
        searcher = Retriever.load(
            self.index,
            views=self.views,
            fusion=self.fusion,
            model=self.model,
            precision=self.precision,
            reranker=self.reranker,
            rerank_depth=self.rerank_depth,
        )
        prompt = Prompt(searcher, self.k)
        return prompt if self.query is None else prompt.answer(self.query)

"""Search an index for one query, or interactively for many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from encloze.commands.base import Command
from encloze.data.filters import Filter
from encloze.retrieval.ranked_hits import Aggregation
from encloze.retrieval.results import Hits
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.base import Fusion


class ExplainedHits(Hits):
    """Hits whose explanations are shown."""


@dataclass(frozen=True)
class InteractiveSearch:
    """Search in a loaded index, for one query at a time."""

    retriever: Retriever
    k: int
    filter: str | None = None
    explain: bool = False
    passage_aggregation: Aggregation = "none"
    diversity: float = 0.0

    def answer(self, query: str) -> Hits:
        """Return the ``k`` documents with the highest scores for a query, best first."""
        hits = self.retriever.search(
            query,
            self.k,
            filter=self.filter,
            explain=True,
            passage_aggregation=self.passage_aggregation,
            diversity=self.diversity,
        )
        return ExplainedHits(query, hits, hits.answer) if self.explain else hits


@dataclass(frozen=True)
class Search(Command, name="search"):
    """Search an index with the model that built it. Without a query, queries are read from the terminal.

    Example:
        >>> hits = Search(index="index", query="where do rivers end", k=3).run()
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("query",)

    index: Path
    """Index folder to search, written by the command index."""
    query: str | None = None
    """Query to search for. Without a query, queries are read from the terminal."""
    k: int = 5
    """Number of documents to return."""
    filter: str | None = None
    """Condition on the fields of the documents, such as 'year >= 2020 and language in ("he", "en")'. Only documents
    that pass it are searched."""
    explain: bool = False
    """Whether to show why each document was found: the score and rank that each index gives it, and the terms of the
    query that contribute to the scores of BM25 and sparse indexes."""
    passage_aggregation: Aggregation = "none"
    """none: documents are found. If they are passages of longer texts: max finds only the best passage of each text;
    sum, too, and the scores of the found passages of a text are added."""
    diversity: float = 0.0
    """From 0 to 1; above 0, documents that repeat what better ones say are replaced by others among the 100 best, by
    maximal marginal relevance. 0.3 avoids near-copies."""
    views: tuple[str, ...] = ()
    """Names of the indexes to search, such as flat and bm25; by default all indexes in the folder."""
    fusion: Fusion | None = None
    """How the scores of several indexes are combined, such as weighted or reciprocal_rank. By default as stored in the
    index folder, or by the sum of normalized scores if only some of its indexes are searched."""
    model: str | None = None
    """Path of the model that built the index. Required only if the model has been moved since then."""
    reranker: str | None = None
    """Cross-encoder that re-ranks the top-ranked documents: a model folder or a hub id."""
    rerank_depth: int = 50
    """Number of top-ranked documents that the re-ranker scores."""
    rerank_weight: float = 1.0
    """Weight of the re-ranker's scores, from 0 to 1. With 1, they replace the scores of the indexes. With a lower
    weight, both are normalized, and the scores of the indexes get the weight 1 minus this. encloze evaluate --reranker
    prints the best weight on dev or validation."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the models' matrix multiplications; auto uses bfloat16 if the hardware supports it."""

    def __post_init__(self) -> None:
        if self.filter:
            Filter(self.filter)  # reports a fault before a model is loaded
        if self.k < 1:
            raise ValueError(f"k must be 1 or more, not {self.k}")
        if not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity must be from 0 to 1, not {self.diversity:g}")
        if self.rerank_depth < 1:
            raise ValueError(f"rerank_depth must be 1 or more, not {self.rerank_depth}")
        if self.rerank_weight != 1 and not self.reranker:
            raise ValueError("rerank_weight needs a reranker")
        if not 0 <= self.rerank_weight <= 1:
            raise ValueError(f"rerank_weight must be from 0 to 1, not {self.rerank_weight}")

    def run(self) -> Hits | InteractiveSearch:
        retriever = Retriever.load(
            self.index,
            views=self.views,
            fusion=self.fusion,
            encoder=self.model,
            precision=self.precision,
            reranker=self.reranker,
            rerank_depth=self.rerank_depth,
            rerank_weight=self.rerank_weight,
        )
        search = InteractiveSearch(
            retriever, self.k, self.filter, self.explain, self.passage_aggregation, self.diversity
        )
        return search if self.query is None else search.answer(self.query)

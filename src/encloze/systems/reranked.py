"""A system whose top-ranked documents are re-ranked by a cross-encoder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run
from encloze.data.runs import top_documents
from encloze.encoders.base import load_reranker
from encloze.retrieval.reranking import rerank
from encloze.storage.model_folders import locate, size_of_weights
from encloze.systems.base import PreparedSystem, System


@dataclass(frozen=True)
class Reranked(System, name="reranked"):
    """A system whose top-ranked documents are re-ranked by a cross-encoder."""

    system: System
    """System that retrieves the candidates."""
    reranker: str
    """Cross-encoder: a model folder or a Hugging Face hub id."""
    depth: int = 50
    """Number of candidates that are re-ranked for each query."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")

    def inputs(self) -> dict[str, Path | str]:
        return {**self.system.inputs(), "reranker": self.reranker}

    @property
    def depends_on(self) -> tuple[str, ...]:
        return self.system.depends_on

    @property
    def tuned_on(self) -> str | None:
        return self.system.tuned_on

    def default_title(self) -> str:
        return f"{self.system.title or self.system.default_title()} + {Path(self.reranker).name}"

    def per_view(self) -> tuple[System, ...]:
        return (*self.system.per_view(), self)

    def check_files(self) -> None:
        self.system.check_files()
        locate(self.reranker)

    def check_dataset(self, dataset: DatasetSplit) -> None:
        self.system.check_dataset(dataset)

    @contextmanager
    def prepare(self, dataset: DatasetSplit) -> Iterator[PreparedSystem]:
        with self.system.prepare(dataset) as retriever:
            corpus, reranker = retriever.corpus or dataset.corpus, load_reranker(self.reranker)
            known = corpus.number_of

            def run(queries: Sequence[Query], depth: int) -> tuple[Run, float | None]:
                rankings, milliseconds = retriever.run(queries, max(depth, self.depth))
                candidates = {
                    query: {document: score for document, score in scores.items() if document in known}
                    for query, scores in rankings.items()
                }
                query_texts = {query.id: query.text for query in queries}
                start = time.perf_counter()
                reranked = rerank(candidates, query_texts, corpus, reranker, self.depth)
                rerank_milliseconds = (time.perf_counter() - start) * 1000 / max(1, len(candidates))
                result = {query: top_documents(scores, depth) for query, scores in reranked.items()}
                return result, None if milliseconds is None else milliseconds + rerank_milliseconds

            model_bytes = (retriever.model_bytes or 0) + size_of_weights(self.reranker)
            yield retriever._replace(run=run, model_bytes=model_bytes)

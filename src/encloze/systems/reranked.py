"""Another system, whose first documents a re-ranker puts in a new order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run
from encloze.data.runs import best
from encloze.encoders.base import load_reranker
from encloze.retrieval.reranking import rerank
from encloze.storage.model_folders import locate, size_of_weights
from encloze.systems.base import Ready, System


@dataclass(frozen=True)
class Reranked(System, name="reranked"):
    """A cross-encoder over what another system finds."""

    system: System
    """What finds the documents."""
    reranker: str
    """The re-ranker: a model folder or a hub's id."""
    depth: int = 50
    """How many of the documents found are scored anew."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")

    def inputs(self) -> dict[str, Path | str]:
        return {**self.system.inputs(), "reranker": self.reranker}

    @property
    def heeds(self) -> tuple[str, ...]:
        return self.system.heeds

    @property
    def tuned_on(self) -> str | None:
        return self.system.tuned_on

    def label(self) -> str:
        return f"{self.system.title or self.system.label()} + {Path(self.reranker).name}"

    def apart(self) -> tuple[System, ...]:
        return (*self.system.apart(), self)

    def check(self) -> None:
        self.system.check()
        locate(self.reranker)

    def check_for(self, dataset: DatasetSplit) -> None:
        self.system.check_for(dataset)

    @contextmanager
    def ready(self, dataset: DatasetSplit) -> Iterator[Ready]:
        with self.system.ready(dataset) as finder:
            corpus, reranker = finder.corpus or dataset.corpus, load_reranker(self.reranker)
            known = corpus.number_of

            def run(queries: Sequence[Query], depth: int) -> tuple[Run, float | None]:
                found, milliseconds = finder.run(queries, max(depth, self.depth))
                there = {query: {d: s for d, s in scores.items() if d in known} for query, scores in found.items()}
                words = {query.id: query.text for query in queries}
                began = time.perf_counter()
                again = rerank(there, words, corpus, reranker, self.depth)
                took = (time.perf_counter() - began) * 1000 / max(1, len(there))
                cut = {query: best(scores, depth) for query, scores in again.items()}
                return cut, None if milliseconds is None else milliseconds + took

            weights = (finder.model_bytes or 0) + size_of_weights(self.reranker)
            yield finder._replace(run=run, model_bytes=weights)

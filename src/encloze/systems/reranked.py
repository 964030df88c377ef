"""Another system, whose first documents a re-ranker puts in a new order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import Dataset
from encloze.data.runs import best
from encloze.encoders import load_reranker
from encloze.model_folders import size_of_weights
from encloze.searcher import reranked
from encloze.systems.base import Outcome, System


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
    def tuned_on(self) -> str | None:
        return self.system.tuned_on

    def label(self) -> str:
        return f"{self.system.title or self.system.label()} + {Path(self.reranker).name}"

    def rank(self, dataset: Dataset, depth: int) -> Outcome:
        found = self.system.rank(dataset, max(depth, self.depth))
        reranker = load_reranker(self.reranker)
        words = {query.id: query.text for query in dataset.queries}
        known = dataset.corpus.number_of
        run = {
            query: {document: score for document, score in scores.items() if document in known}
            for query, scores in found.run.items()
            if query in words
        }
        began = time.perf_counter()
        again = reranked(run, words, dataset.corpus, reranker, self.depth)
        took = (time.perf_counter() - began) * 1000 / max(1, len(run))
        cut = {query: best(scores, depth) for query, scores in again.items()}
        took_all = None if found.milliseconds is None else found.milliseconds + took
        weights = (found.model_bytes or 0) + size_of_weights(self.reranker)
        return Outcome(cut, took_all, found.note, found.index_bytes, weights)

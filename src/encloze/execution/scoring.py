"""Scoring of pairs of a query and a document by a re-ranker or a bi-encoder, in shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encloze import progress
from encloze.encoders.base import Precision, Scorer, load_scorer
from encloze.execution.jobs import Job
from encloze.execution.ledger import Ledger

Pairs = Sequence[tuple[str, str]]
"""Pairs of the text of a query and the text of a document."""


@dataclass(frozen=True)
class ScoringComputation:
    """Scoring of pairs in another process."""

    model: str
    """Name that the model is loaded by."""
    precision: Precision
    """Precision of its matrix multiplications."""

    def load(self) -> Callable[[Pairs], np.ndarray]:
        """Load the model, and return the function that scores pairs (see ``Computation``)."""
        return load_scorer(self.model, self.precision).score


class ScoringJob(Job[np.ndarray]):
    """Job that scores the pairs of some queries in each shard. A result is a float32 array with a score for each pair.

    Args:
        model: The model, which scores the pairs if they are scored in this process.
        computation: The same model, for other processes.
        sizes: Number of queries in each shard.
        pairs_of: Function that returns the pairs of a shard.
        folder: Folder for the scores of finished shards.
    """

    title, unit = "Scoring candidates", "queries"

    def __init__(
        self,
        model: Scorer,
        computation: ScoringComputation,
        sizes: Sequence[int],
        pairs_of: Callable[[int], Pairs],
        folder: Path,
    ) -> None:
        self._model, self._computation, self.sizes, self._pairs_of = model, computation, sizes, pairs_of
        self.ledger = Ledger(folder, ".npy", lambda scores, file: np.save(file, scores), _read, "scores")

    def process(self, shards: Sequence[int]) -> Iterator[np.ndarray]:
        total, left = sum(self.sizes), sum(self.sizes[shard] for shard in shards)
        with progress.task(self.title, total, self.unit, completed=total - left) as bar:
            for shard in shards:
                yield self._model.score(self._pairs_of(shard))
                bar.advance(self.sizes[shard])

    def computation(self) -> ScoringComputation:
        return self._computation

    def input(self, shard: int) -> Pairs:
        return self._pairs_of(shard)


def _read(file: Path) -> np.ndarray:
    scores: np.ndarray = np.load(file)
    return scores

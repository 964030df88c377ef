"""The batch plan: which examples each step sees, from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

_WINDOW_BATCHES = 50


class Place(NamedTuple):
    """A step's batch."""

    step: int
    epoch: int
    examples: np.ndarray  # int64: numbers of examples


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Batches of examples of like length.

    Each epoch shuffles all examples, sorts stretches of it by length, cuts these into batches and shuffles the
    batches. A batch holds at most ``batch_size`` examples and, padded, ``batch_tokens`` tokens (one example always
    fits). Every example comes once an epoch.
    """

    lengths: np.ndarray  # int64: tokens of each example as the model gets it
    seed: int
    batch_tokens: int | None = None
    batch_size: int | None = None

    def epoch(self, number: int) -> list[np.ndarray]:
        """The batches of an epoch, in order."""
        return _epoch(self, number)

    def steps(self, epochs: float) -> int:
        """Number of batches in so many epochs."""
        whole = sum(len(self.epoch(number)) for number in range(int(epochs)))
        return max(1, whole + round((epochs % 1) * len(self.epoch(int(epochs)))))

    def from_step(self, step: int) -> Iterator[Place]:
        """The batches from a step on, epoch after epoch, without end."""
        epoch, start = 0, step
        while start >= len(self.epoch(epoch)):
            start -= len(self.epoch(epoch))
            epoch += 1
        while True:
            for examples in self.epoch(epoch)[start:]:
                yield Place(step, epoch, examples)
                step += 1
            epoch, start = epoch + 1, 0


@lru_cache(maxsize=4)
def _epoch(plan: BatchPlan, number: int) -> list[np.ndarray]:
    draw = np.random.default_rng([plan.seed, number])
    order = draw.permutation(len(plan.lengths))
    usual = plan.batch_size or len(order)  # examples of a batch, roughly
    if plan.batch_tokens:
        usual = min(usual, int(plan.batch_tokens // max(1.0, float(plan.lengths.mean()))))
    window = max(1, usual * _WINDOW_BATCHES)
    batches: list[np.ndarray] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        batches += _cut(part[np.argsort(plan.lengths[part], kind="stable")], plan)
    return [batches[at] for at in draw.permutation(len(batches))]


def _cut(part: np.ndarray, plan: BatchPlan) -> list[np.ndarray]:
    """Examples in order of length, as batches."""
    batches, start = [], 0
    for at in range(1, len(part) + 1):
        full = at == len(part)
        if not full and plan.batch_size:
            full = at - start >= plan.batch_size
        if not full and plan.batch_tokens:
            full = int(plan.lengths[part[at]]) * (at + 1 - start) > plan.batch_tokens
        if full:
            batches.append(part[start:at])
            start = at
    return batches

"""Batch plan: the examples of each training step, determined only by the seed and the text lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

_WINDOW_BATCHES = 50


class Step(NamedTuple):
    """The examples of one optimizer step, with the indices of the step and of the epoch."""

    number: int
    """Index of the step, from 0."""
    epoch: int
    """Index of the epoch, from 0."""
    examples: np.ndarray
    """Indices of the examples in the batch, int64 ``(batch,)``."""


class BatchPlan:
    """Base class of batch plans: the batches of each epoch, and the training steps that use them in order."""

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of an epoch in the order of training. Each is an int64 array of indices of examples."""
        return _cached_epoch(self, epoch)

    def compute_epoch(self, epoch: int) -> list[np.ndarray]:
        """Compute what ``epoch`` returns; ``epoch`` caches the last results."""
        raise NotImplementedError(type(self).__name__)

    def steps(self, epochs: float) -> int:
        """Return the number of batches in ``epochs`` epochs, a whole or fractional number; at least 1."""
        whole = sum(len(self.epoch(epoch)) for epoch in range(int(epochs)))
        return max(1, whole + round((epochs % 1) * len(self.epoch(int(epochs)))))

    def from_step(self, number: int) -> Iterator[Step]:
        """Yield the training steps from index ``number`` on. After each epoch, the next one begins, without end."""
        epoch, start = 0, number
        while start >= len(self.epoch(epoch)):
            start -= len(self.epoch(epoch))
            epoch += 1
        while True:
            for examples in self.epoch(epoch)[start:]:
                yield Step(number, epoch, examples)
                number += 1
            epoch, start = epoch + 1, 0


@dataclass(frozen=True, eq=False)
class LengthGroupedPlan(BatchPlan):
    """Batches of examples with similar lengths, for losses that do not compare the examples of a batch.

    In each epoch, all examples are shuffled and divided into windows of about 50 batches. The examples of a window are
    sorted by length and divided into batches. Finally, all batches are shuffled. Every example occurs once per epoch.

    Args:
        lengths: Number of tokens of each example, int64 ``(examples,)``.
        seed: Seed of the shuffling.
        batch_tokens: Maximum number of tokens of a batch, including padding. A batch has at least one example.
        batch_size: Maximum number of examples of a batch.

    Example:
        >>> plan = LengthGroupedPlan(np.array([3, 9, 4, 8]), seed=0, batch_size=2)
        >>> [len(batch) for batch in plan.epoch(0)]
        [2, 2]
    """

    lengths: np.ndarray
    seed: int
    batch_tokens: int | None = None
    batch_size: int | None = None

    def compute_epoch(self, epoch: int) -> list[np.ndarray]:
        """Compute the batches of an epoch (see ``BatchPlan.compute_epoch``)."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.lengths))
        typical_size = self.batch_size or len(order)
        if self.batch_tokens:
            typical_size = min(typical_size, int(self.batch_tokens // max(1.0, float(self.lengths.mean()))))
        window = max(1, typical_size * _WINDOW_BATCHES)
        batches: list[np.ndarray] = []
        for start in range(0, len(order), window):
            examples = order[start : start + window]
            batches += _split(examples[np.argsort(self.lengths[examples], kind="stable")], self)
        return [batches[index] for index in generator.permutation(len(batches))]


@lru_cache(maxsize=4)
def _cached_epoch(plan: BatchPlan, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch. The last four results are cached."""
    return plan.compute_epoch(epoch)


def _split(examples: np.ndarray, plan: LengthGroupedPlan) -> list[np.ndarray]:
    """Split examples, which are sorted by length, into batches within ``batch_tokens`` and ``batch_size``."""
    batches, start = [], 0
    for end in range(1, len(examples) + 1):
        is_full = end == len(examples)
        if not is_full and plan.batch_size:
            is_full = end - start >= plan.batch_size
        if not is_full and plan.batch_tokens:
            is_full = int(plan.lengths[examples[end]]) * (end + 1 - start) > plan.batch_tokens
        if is_full:
            batches.append(examples[start:end])
            start = end
    return batches

"""Random batches for training with in-batch negatives: no two queries of a batch share a relevant document."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from encloze.training.batch_plan import BatchPlan
from encloze.training.candidates import Relevance

_ATTEMPTS = 200  # random examples that are tried as exchange partners of one example


@dataclass(frozen=True, eq=False)
class RandomPlan(BatchPlan):
    """Random batches of queries, for losses in which the documents of a query are negatives of all other queries.

    If batches grouped texts of similar length, as those of ``LengthGroupedPlan`` do, mostly the same queries would
    share a batch in every epoch. Here each epoch divides all examples at random into batches whose sizes differ by at
    most one. Examples are then exchanged between batches so that no two examples of a batch share a relevant text. If
    no exchange is found, for example because a text is relevant for more examples than there are batches, examples
    that share a relevant text stay in the same batch. Within a batch, examples are sorted by length, so that
    micro-batches have little padding.

    Args:
        lengths: Number of tokens of each example, int64 ``(examples,)``.
        seed: Seed of the batches.
        batch_size: Maximum number of examples of a batch; with 2, one batch may have 3, because one query alone has no
            negatives.
        relevance: Relevant texts of each example.

    Example:
        >>> relevance = Relevance(np.array([0, 1, 2, 3, 4]), np.array([7, 7, 8, 9]))  # text 7 is relevant for 0 and 1
        >>> plan = RandomPlan(np.array([3, 9, 4, 5]), seed=0, batch_size=2, relevance=relevance)
        >>> any({0, 1} == set(batch.tolist()) for batch in plan.epoch(0))
        False
    """

    lengths: np.ndarray
    seed: int
    batch_size: int
    relevance: Relevance

    def compute_epoch(self, epoch: int) -> list[np.ndarray]:
        """Compute the batches of an epoch (see ``BatchPlan.compute_epoch``)."""
        generator = np.random.default_rng([self.seed, epoch])
        examples = generator.permutation(len(self.lengths))
        count = min(-(-len(examples) // self.batch_size), max(1, len(examples) // 2))  # no batch of one query
        parts = np.array_split(np.arange(len(examples)), count)
        _separate(examples, np.repeat(np.arange(len(parts)), [len(part) for part in parts]), self.relevance, generator)
        return [batch[np.argsort(self.lengths[batch], kind="stable")] for batch in (examples[part] for part in parts)]


def _separate(examples: np.ndarray, batch_of: np.ndarray, relevance: Relevance, generator: np.random.Generator) -> None:
    """Exchange examples of different batches, in place, so that no two examples of a batch share a relevant text.

    Args:
        examples: Index of the example at each position, int64 ``(examples,)``.
        batch_of: Batch of each position, int64 ``(examples,)``.
        relevance: Relevant texts of each example.
        generator: Random generator that selects the examples to try for an exchange.
    """
    texts = [relevance.of(int(example)) for example in examples]
    counts = [Counter[int]() for _ in range(int(batch_of[-1]) + 1)]  # number of examples of each text, by batch
    for position, batch in enumerate(batch_of):
        counts[batch].update(texts[position])
    for position, batch in enumerate(batch_of):
        own = counts[batch]
        if all(own[text] == 1 for text in texts[position]):
            continue
        for partner in generator.integers(len(examples), size=_ATTEMPTS):
            other = counts[batch_of[partner]]
            leaving, entering = texts[position], texts[partner]
            fits = not any(other[text] > (text in entering) for text in leaving)
            if fits and not any(own[text] > (text in leaving) for text in entering) and other is not own:
                own.subtract(leaving), own.update(entering)
                other.subtract(entering), other.update(leaving)
                texts[position], texts[partner] = entering, leaving
                examples[[position, partner]] = examples[[partner, position]]
                break

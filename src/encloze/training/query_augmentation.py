"""Query augmentation: random perturbations of training queries, such as typing errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from encloze.data.records import Query
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation


@dataclass(frozen=True)
class QueryAugmentation:
    """Perturbs a random fraction of the queries in each epoch. The result depends only on the seed, epoch and example.

    Args:
        perturbations: Perturbations to choose from; one is applied to each augmented query.
        probability: Probability that a query is augmented in an epoch, from 0 to 1.
        seed: Seed of the sampling.
    """

    perturbations: Sequence[QueryPerturbation]
    probability: float
    seed: int

    def __call__(self, text: str, example: int, epoch: int) -> str:
        """Return the text of a query for an epoch: ``text`` itself or, if it is augmented, a perturbed text."""
        random = KeyedRandom(self.seed, "perturbing", epoch, example)
        if random.random() >= self.probability:
            return text
        return random.choice(self.perturbations).perturb_query(Query(f"{epoch} {example}", text), self.seed)

"""A perturbation: a query's text to the same text as it might have been typed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from encloze.data.records import Query
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.family import Family


@dataclass(frozen=True)
class QueryPerturbation(Family):
    """A way in which the words of a query go wrong, or are merely written otherwise."""

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        """The text with the perturbation, or as it is where there is nothing to perturb."""
        raise NotImplementedError(type(self).__name__)

    def perturbed(self, query: Query, seed: int) -> str:
        """The text of a query, perturbed by (seed, id, text) alone; never without letters where it had some."""
        text = self.perturb(query.text, KeyedRandom(seed, self.name, query.id, query.text))
        return text if text.strip() else query.text


def part_of(count: int, share: float) -> int:
    """So many of ``count``: a share, rounded up, so that something happens to short queries, too."""
    return math.ceil(count * share)


def check_share(name: str, share: float) -> None:
    """Raise ValueError unless a setting is a share above 0."""
    if not 0 < share <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {share}")

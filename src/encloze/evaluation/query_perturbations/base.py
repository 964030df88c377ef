"""Interface of query perturbations: functions from the text of a query to a changed text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from encloze.data.records import Query
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.family import Family


@dataclass(frozen=True)
class QueryPerturbation(Family):
    """Base class of query perturbations.

    A subclass implements ``perturb``. The result must depend only on the text, the settings and the random numbers.

    Example:
        >>> from encloze.evaluation.query_perturbations.case import Case
        >>> Case().perturb_query(Query("q1", "where do rivers go"), seed=0)
        'WHERE DO RIVERS GO'
    """

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        """Return the perturbed text.

        Args:
            text: Text of a query.
            rng: Source of all random choices.

        Returns:
            The perturbed text; the same text if there is nothing to perturb.
        """
        raise NotImplementedError(type(self).__name__)

    def perturb_query(self, query: Query, seed: int) -> str:
        """Return the perturbed text of a query.

        The random choices depend only on the seed, the name of the perturbation, and the id and text of the query.

        Args:
            query: The query.
            seed: Seed of the random choices.

        Returns:
            The perturbed text; the original text if the perturbed one is empty.
        """
        text = self.perturb(query.text, KeyedRandom(seed, self.name, query.id, query.text))
        return text if text.strip() else query.text


def count_of_fraction(count: int, fraction: float) -> int:
    """Return ``count`` times ``fraction``, rounded up so that at least one item is changed in a short query."""
    return math.ceil(count * fraction)


def check_fraction(name: str, fraction: float) -> None:
    """Raise ValueError if the setting ``name`` is not above 0 and at most 1."""
    if not 0 < fraction <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {fraction}")

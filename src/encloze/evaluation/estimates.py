"""What queries, and seeds of training, say of a mean or a difference: its error, and what follows from that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from encloze.intervals import Interval


class Estimate(NamedTuple):
    """A mean whose error follows Student's t."""

    mean: float
    error: float
    """The standard error; infinite where a single query says nothing of it."""
    freedom: float
    """Degrees of freedom."""

    def interval(self, confidence: float = 0.95) -> Interval:
        half = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return Interval(self.mean, self.mean - half, self.mean + half)

    def p_above(self, least: float) -> float:
        """The one-sided p-value against the true mean being ``least`` or lower."""
        if not self.error:
            return float(self.mean <= least)
        return float(stdtr(self.freedom, (least - self.mean) / self.error))

    def p_equivalent_within(self, margin: float) -> float:
        """The p-value against the true mean being ``margin`` or more from 0: two one-sided tests (Schuirmann, 1987)."""
        return max(self.p_above(-margin), Estimate(-self.mean, self.error, self.freedom).p_above(-margin))

    def p_value(self) -> float:
        """The two-sided p-value against a true mean of 0."""
        return min(1.0, 2 * min(self.p_above(0), Estimate(-self.mean, self.error, self.freedom).p_above(0)))

    def minimum_detectable_difference(self, power: float = 0.8, level: float = 0.05) -> float:
        """The true difference that a two-sided test at ``level`` would find with this power, given this error."""
        return float(stdtrit(self.freedom, 1 - level / 2) + stdtrit(self.freedom, power)) * self.error


def estimate(values: Sequence[np.ndarray], against: Sequence[np.ndarray] | None = None) -> Estimate:
    """The mean over data sets, or the mean difference from other values of the same queries.

    Of each data set there is an array of a value a query, or of one a seed and query (seeds x queries). Queries are
    random, and so are seeds where there are several; data sets are taken as they are. Without seeds it is Student's t
    of one data set and Welch's (1947) of two. What seeds add is their part of the variance in a crossed design (Searle,
    Casella and McCulloch, Variance Components, 1992), which is never below 0; degrees of freedom are Satterthwaite's.
    """
    sides = [[np.atleast_2d(np.asarray(one, float)) for one in side] for side in (values, against) if side is not None]
    by_query = [of_side.mean(axis=0) for of_side in sides[0]]
    for at, of_side in enumerate(sides[1] if against is not None else ()):
        by_query[at] = by_query[at] - of_side.mean(axis=0)
    mean = float(np.mean([of_dataset.mean() for of_dataset in by_query]))
    if min(map(len, by_query)) < 2:
        return Estimate(mean, float("inf"), 1)
    parts = [(of.var(ddof=1) / len(of) / len(by_query) ** 2, len(of) - 1) for of in by_query]
    variance = sum(part for part, _ in parts)
    for side in sides:
        of_seeds, of_rest, freedom = _seeds(side)
        if of_seeds > of_rest:  # else seeds differ by no more than chance
            variance += of_seeds - of_rest
            parts.append((of_seeds, freedom))
    doubt = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / doubt if doubt else sum(freedom for _, freedom in parts)
    return Estimate(mean, float(np.sqrt(variance)), max(1.0, float(freedom)))


def difference(some: np.ndarray, others: np.ndarray) -> Estimate:
    """How much higher the mean of some queries is than that of others, of which none is among them: Welch's."""
    half = estimate([some, -others])  # the mean of two data sets
    return Estimate(2 * half.mean, 2 * half.error, half.freedom)


def _seeds(values: Sequence[np.ndarray]) -> tuple[float, float, int]:
    """What is seen of seeds in the variance of a mean, what of that is chance, and the degrees of freedom."""
    seeds = len(values[0])
    if seeds < 2:
        return 0.0, 0.0, 0
    by_seed = np.mean([of_dataset.mean(axis=1) for of_dataset in values], axis=0)
    chance = 0.0
    for of_dataset in values:
        rest = of_dataset - of_dataset.mean(axis=1, keepdims=True) - of_dataset.mean(axis=0) + of_dataset.mean()
        queries = of_dataset.shape[1]
        chance += (rest**2).sum() / ((seeds - 1) * (queries - 1)) / queries / len(values) ** 2
    return float(by_seed.var(ddof=1)) / seeds, float(chance) / seeds, seeds - 1

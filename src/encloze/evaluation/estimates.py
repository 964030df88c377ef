"""Means and mean differences over queries, data sets and training seeds, with standard errors, tests and power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from encloze.intervals import Interval


class Estimate(NamedTuple):
    """Estimated mean whose error follows Student's t distribution.

    Example:
        >>> Estimate(0.02, standard_error=0.01, degrees_of_freedom=50).p_value() < 0.06
        True
    """

    mean: float
    """The estimated mean or mean difference."""
    standard_error: float
    """Standard error of the mean; infinite if there is only one query."""
    degrees_of_freedom: float
    """Degrees of freedom of the t distribution, 1 or more."""

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the mean with its confidence interval.

        Args:
            confidence: Confidence level between 0 and 1.
        """
        half_width = float(stdtrit(self.degrees_of_freedom, (1 + confidence) / 2)) * self.standard_error
        return Interval(self.mean, self.mean - half_width, self.mean + half_width)

    def p_greater(self, threshold: float) -> float:
        """Return the one-sided p-value of the null hypothesis that the true mean is ``threshold`` or lower."""
        if not self.standard_error:
            return float(self.mean <= threshold)
        return float(stdtr(self.degrees_of_freedom, (threshold - self.mean) / self.standard_error))

    def p_equivalent(self, margin: float) -> float:
        """Return the p-value of the null hypothesis that the true mean is ``margin`` or more away from 0.

        It is the larger one of two one-sided tests (Schuirmann, 1987).
        """
        opposite = Estimate(-self.mean, self.standard_error, self.degrees_of_freedom)
        return max(self.p_greater(-margin), opposite.p_greater(-margin))

    def p_value(self) -> float:
        """Return the two-sided p-value of the null hypothesis that the true mean is 0."""
        opposite = Estimate(-self.mean, self.standard_error, self.degrees_of_freedom)
        return min(1.0, 2 * min(self.p_greater(0), opposite.p_greater(0)))

    def minimum_detectable_difference(self, power: float = 0.8, level: float = 0.05) -> float:
        """Return the smallest true difference that a two-sided test detects with probability ``power``.

        Args:
            power: Probability that the test detects the difference.
            level: Significance level of the test.
        """
        critical = stdtrit(self.degrees_of_freedom, 1 - level / 2) + stdtrit(self.degrees_of_freedom, power)
        return float(critical) * self.standard_error


def estimate(values: Sequence[np.ndarray], baseline: Sequence[np.ndarray] | None = None) -> Estimate:
    """Estimate a mean over data sets, or the mean difference from a baseline on the same queries.

    Queries are treated as random samples, and so are training seeds if there are several; data sets are fixed and have
    equal weight. With one seed, the standard error and the degrees of freedom are those of Student's t-test for one
    data set and of Welch's t-test (1947) for two. With several seeds, the variance between seeds is added to the
    variance of the mean if its estimate is positive (variance component of a crossed design: Searle, Casella and
    McCulloch, Variance Components, 1992), and the degrees of freedom follow from Satterthwaite's formula.

    Args:
        values: For each data set an array of shape (queries,) or (seeds, queries).
        baseline: Values whose mean is subtracted: arrays for the same data sets and queries as ``values``. The number
            of seeds may differ.

    Returns:
        The estimate of the mean or the mean difference.

    Example:
        >>> estimate([np.array([0.25, 0.5, 0.75])]).mean
        0.5
    """
    sides = [[np.atleast_2d(np.asarray(one, float)) for one in side] for side in (values, baseline) if side is not None]
    query_means = [array.mean(axis=0) for array in sides[0]]
    for number, array in enumerate(sides[1] if baseline is not None else ()):
        query_means[number] = query_means[number] - array.mean(axis=0)
    mean = float(np.mean([array.mean() for array in query_means]))
    if min(map(len, query_means)) < 2:
        return Estimate(mean, float("inf"), 1)
    # Variance components with their degrees of freedom, one for the queries of each data set.
    components = [(array.var(ddof=1) / len(array) / len(query_means) ** 2, len(array) - 1) for array in query_means]
    variance = sum(component for component, _ in components)
    for side in sides:
        seed_variance, expected_variance, degrees = _seed_variance(side)
        if seed_variance > expected_variance:
            variance += seed_variance - expected_variance
            components.append((seed_variance, degrees))
    denominator = sum(component**2 / degrees for component, degrees in components)
    degrees_of_freedom = variance**2 / denominator if denominator else sum(degrees for _, degrees in components)
    return Estimate(mean, float(np.sqrt(variance)), max(1.0, float(degrees_of_freedom)))


def welch_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Estimate the difference between the means of two disjoint sets of queries by Welch's t (1947).

    Args:
        first: Values of the first set, one per query.
        second: Values of the second set, one per query.

    Returns:
        The estimate of the mean of ``first`` minus the mean of ``second``.
    """
    half = estimate([first, -second])  # the mean of two data sets is half of the difference
    return Estimate(2 * half.mean, 2 * half.standard_error, half.degrees_of_freedom)


def _seed_variance(arrays: Sequence[np.ndarray]) -> tuple[float, float, int]:
    """Estimate the variance of a mean over seeds and data sets from the variance between the means of the seeds.

    Each array has the shape (seeds, queries) and belongs to one data set. Returns the variance, the variance expected
    if seeds had no effect, and the degrees of freedom; all are 0 if there is only one seed.
    """
    seeds = len(arrays[0])
    if seeds < 2:
        return 0.0, 0.0, 0
    seed_means = np.mean([array.mean(axis=1) for array in arrays], axis=0)
    expected = 0.0
    for array in arrays:
        residuals = array - array.mean(axis=1, keepdims=True) - array.mean(axis=0) + array.mean()
        queries = array.shape[1]
        expected += (residuals**2).sum() / ((seeds - 1) * (queries - 1)) / queries / len(arrays) ** 2
    return float(seed_means.var(ddof=1)) / seeds, float(expected) / seeds, seeds - 1

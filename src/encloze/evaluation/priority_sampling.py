"""Priority sampling: an order in which queries are judged, and the mean difference estimated from the first ones."""

from __future__ import annotations

import numpy as np

from encloze.evaluation.estimates import Estimate


class PrioritySample:
    """A random order of queries in which those with large weights tend to come early.

    The mean of a value over all queries is estimated from the first queries without bias, although they are not
    typical: each value is divided by the probability that its query is among them (Duffield, Lund and Thorup, Journal
    of the ACM, 2007). A query whose weight is 0 must have the value 0; it need not be known.

    Args:
        weights: Expected size of the value of each query up to a common factor, 0 or more; float64 of shape (queries,).
        numbers: Random number of each query, from 0 to below 1, of the same shape.

    Example:
        >>> sample = PrioritySample(np.array([1.0, 0.0, 2.0]), np.array([0.25, 0.5, 0.75]))
        >>> sample.order.tolist(), sample.size
        ([2, 0, 1], 2)
        >>> sample.estimate(np.array([0.5, 1.0])).mean
        0.5
    """

    def __init__(self, weights: np.ndarray, numbers: np.ndarray) -> None:
        priorities = np.asarray(weights, float) / (1 - numbers)
        self.order = np.lexsort((numbers, -priorities))
        """The queries, those with the highest priority first; int64 of shape (queries,)."""
        self._weights, self._priorities = np.asarray(weights, float)[self.order], priorities[self.order]
        self.size = int((self._weights > 0).sum())
        """Number of queries whose weight is above 0. They are the first ones of the order."""

    def estimate(self, values: np.ndarray) -> Estimate:
        """Estimate the mean over the queries that users have, of which all queries are a sample.

        The standard error has two parts: some values are not known, and the queries are a sample. If all values are
        known, the estimate is that of Student's t-test.

        Args:
            values: Values of the first queries of the order, at most ``size``.

        Returns:
            The estimate. Its standard error is infinite if fewer than 2 of more values are known.
        """
        probabilities, queries = self._probabilities(len(values)), len(self._weights)
        mean = float((values / probabilities).sum()) / queries
        if queries < 2 or len(values) < min(2, self.size):
            return Estimate(mean, float("inf"), 1)
        unknown = self._variance_of_unknown(values, probabilities)
        return self._estimate(mean, unknown + self._variance_of_queries(values, probabilities), len(values))

    def minimum_detectable_difference(self, values: np.ndarray, count: int) -> float:
        """Return the smallest true difference that will probably be detected when more values are known.

        The squares of the unknown values are assumed to relate to the weights as those of the known values do.

        Args:
            values: Values of the first queries of the order; 2 or more.
            count: Number of first queries whose values will be known, from ``len(values)`` to ``size``.

        Returns:
            The difference that a test at a level of 5 % detects with a probability of 80 %.
        """
        probabilities = self._probabilities(len(values))
        factor = float((values**2 / probabilities).sum()) / float((self._weights**2).sum())
        rest = np.maximum(0, self._weights * (self._threshold(count) - self._weights)).sum()
        unknown = factor * float(rest) / len(self._weights) ** 2
        variance = unknown + self._variance_of_queries(values, probabilities)
        return self._estimate(0.0, variance, count).minimum_detectable_difference()

    def count_to_detect(self, values: np.ndarray) -> int | None:
        """Return how many values must be known so that a difference as large as the estimated one is detected.

        Args:
            values: Values of the first queries of the order; 2 or more.

        Returns:
            The number of first queries, from ``len(values)`` to ``size``; None if all values do not suffice.
        """
        difference, low, high = abs(self.estimate(values).mean), len(values), self.size
        if self.minimum_detectable_difference(values, high) > difference:
            return None
        while low < high:
            middle = (low + high) // 2
            if self.minimum_detectable_difference(values, middle) > difference:
                low = middle + 1
            else:
                high = middle
        return low

    def _threshold(self, count: int) -> float:
        """Return the highest priority that is not among the first ``count``; 0 if only weights of 0 are not."""
        return float(self._priorities[count]) if count < len(self._priorities) else 0.0

    def _probabilities(self, count: int) -> np.ndarray:
        """Return for each of the first ``count`` queries the probability of being among them, given the threshold."""
        threshold = self._threshold(count)
        return np.minimum(1, self._weights[:count] / threshold) if threshold else np.ones(count)

    def _variance_of_unknown(self, values: np.ndarray, probabilities: np.ndarray) -> float:
        """Return the variance of the estimated mean that comes from unknown values (without bias)."""
        return float(((values / probabilities) ** 2 * (1 - probabilities)).sum()) / len(self._weights) ** 2

    def _variance_of_queries(self, values: np.ndarray, probabilities: np.ndarray) -> float:
        """Return the variance of the mean that comes from the choice of the queries."""
        queries = len(self._weights)
        mean = float((values / probabilities).sum()) / queries
        mean_square = float((values**2 / probabilities).sum()) / queries
        square_of_mean = mean**2 - self._variance_of_unknown(values, probabilities)
        return max(0.0, mean_square - square_of_mean) / (queries - 1)

    def _estimate(self, mean: float, variance: float, count: int) -> Estimate:
        """Return an estimate from ``count`` values. If these are all that are not 0, all queries are known."""
        known = len(self._weights) if count >= self.size else count
        return Estimate(mean, float(np.sqrt(variance)), max(1, known - 1))

"""Comparison of a system with the first system of a table: difference, significance tests, wins, ties and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encloze.evaluation.estimates import estimate
from encloze.evaluation.significance import randomization_test
from encloze.intervals import Interval

_LEVEL = 0.05
"""Significance level of the verdicts."""


@dataclass(frozen=True)
class Contrast:
    """Comparison of one system with the first system of a table, on one data set or on the mean of all data sets.

    All p-values are Holm-corrected for the number of contrasts in the table.
    """

    dataset: str
    """Name of the data set, or ``mean`` for the mean of all data sets."""
    system: str
    """Name of the system that is compared with the first system."""
    difference: Interval
    """Mean difference in the measure with its 95 % confidence interval."""
    wins: int
    """Number of queries on which the system is better than the first system."""
    ties: int
    """Number of queries on which both systems have the same value."""
    losses: int
    """Number of queries on which the system is worse than the first system."""
    p_value: float
    """P-value of the null hypothesis of no difference, by a paired randomization test or, if there are several training
    seeds, by a t-test."""
    p_not_worse: float
    """P-value of the null hypothesis that the system is worse by at least the equivalence margin: one-sided t-test."""
    p_equivalent: float
    """P-value of the null hypothesis that the difference is at least the equivalence margin in either direction: two
    one-sided t-tests."""
    minimum_detectable_difference: float
    """Smallest true difference that a test at the 5 % level, without Holm's correction, detects with a power
    of 80 %."""

    def verdict(self, margin: float) -> str:
        """Return the conclusion from the three tests at a significance level of 5 %.

        Args:
            margin: The equivalence margin.

        Returns:
            ``better``, ``worse``, ``equivalent within MARGIN``, ``not worse by MARGIN`` or ``undecided``. ``, by less
            than MARGIN`` follows ``better`` or ``worse`` if the difference is also significantly smaller than the
            margin.
        """
        suffix = f", by less than {margin:g}" * (self.p_equivalent <= _LEVEL)
        if self.p_value <= _LEVEL:
            return ("better" if self.difference.mean > 0 else "worse") + suffix
        if self.p_equivalent <= _LEVEL:
            return f"equivalent within {margin:g}"
        return f"not worse by {margin:g}" if self.p_not_worse <= _LEVEL else "undecided"


def contrast_with(
    dataset: str,
    system: str,
    values: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    equivalence_margin: float,
    seed: int,
) -> Contrast:
    """Compare a system with the first system. The p-values are not corrected for multiple tests.

    Args:
        dataset: Name of the data set, or ``mean`` for the mean of all data sets.
        system: Name of the system.
        values: Values of the system on each data set: float64, seeds x queries.
        baseline: Values of the first system on each data set: float64, seeds x queries.
        equivalence_margin: Difference below which two systems are called equivalent.
        seed: Seed of the randomization test.
    """
    estimated = estimate(values, baseline)
    differences = [one.mean(axis=0) - other.mean(axis=0) for one, other in zip(values, baseline, strict=True)]
    # Equal measures may differ in their last bits.
    wins, losses = (sum(int((sign * one > 1e-9).sum()) for one in differences) for sign in (1, -1))
    weighted = np.concatenate([one / len(one) for one in differences]) / len(differences)
    if any(len(one) > 1 for one in (*values, *baseline)):  # several seeds
        p_value = estimated.p_value()
    else:
        p_value = randomization_test(weighted, np.zeros(len(weighted)), seed=seed)
    return Contrast(
        dataset=dataset,
        system=system,
        difference=estimated.interval(),
        wins=wins,
        ties=len(weighted) - wins - losses,
        losses=losses,
        p_value=p_value,
        p_not_worse=estimated.p_greater(-equivalence_margin),
        p_equivalent=estimated.p_equivalent(equivalence_margin),
        minimum_detectable_difference=estimated.minimum_detectable_difference(),
    )

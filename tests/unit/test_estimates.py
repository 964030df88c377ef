"""Estimates agree with scipy's t tests and a literal analysis of variance, and have the nominal coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from encloze.evaluation.estimates import Estimate, estimate, welch_difference
from encloze.intervals import Interval

RNG = np.random.default_rng(0)
DIFFERENCES = np.where(RNG.random(60) < 0.5, 0, RNG.normal(0.01, 0.2, 60))


def assert_close(found: Interval, expected: tuple[float, float, float]) -> None:
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_one_data_set_is_students(confidence: float) -> None:
    theirs = scipy.stats.ttest_1samp(DIFFERENCES, 0).confidence_interval(confidence)
    assert_close(estimate([DIFFERENCES]).interval(confidence), (DIFFERENCES.mean(), theirs.low, theirs.high))


def test_the_interval_of_the_mean_of_two_data_sets_is_welchs() -> None:
    one, other = DIFFERENCES, RNG.normal(0.1, 0.4, 17)
    theirs = scipy.stats.ttest_ind(one, -other, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    found = estimate([one, other])
    assert_close(found.interval(), ((one.mean() + other.mean()) / 2, interval.low / 2, interval.high / 2))
    assert found.p_value() == pytest.approx(theirs.pvalue)


def test_an_estimate_against_a_baseline_is_that_of_the_differences() -> None:
    one, other = RNG.random((2, 40))
    assert_close(estimate([one], [other]).interval(), estimate([one - other]).interval())


@pytest.mark.parametrize("margin", [0.01, 0.08])
@pytest.mark.parametrize("shift", [-0.2, -0.05, 0.0, 0.05])
def test_equivalence_p_values_are_those_of_two_one_sided_tests(shift: float, margin: float) -> None:
    values = DIFFERENCES + shift
    above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
    found = estimate([values])
    assert found.p_greater(-margin) == pytest.approx(above)
    assert found.p_equivalent(margin) == pytest.approx(max(above, below))
    assert found.p_value() == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    # Equivalence at 5 % means that the 90 % interval is within the margins.
    low, high = found.interval(0.9)[1:]
    assert (found.p_equivalent(margin) < 0.05) == (-margin < low and high < margin)


def test_equal_values_have_no_error_and_a_single_value_has_an_infinite_one() -> None:
    nothing = estimate([np.zeros(30)])
    assert nothing.interval() == (0, 0, 0) and nothing.minimum_detectable_difference() == 0
    assert (nothing.p_value(), nothing.p_greater(-0.01), nothing.p_greater(0.0), nothing.p_equivalent(0.01)) == (
        1,
        0,
        1,
        0,
    )
    alone = estimate([np.array([0.5])])
    assert alone.interval() == (0.5, float("-inf"), float("inf"))
    assert alone.p_greater(0) == alone.p_greater(-0.01) == 0.5 and alone.p_value() == 1


@pytest.mark.parametrize("queries", [10, 50, 300])
def test_the_minimum_detectable_difference_has_80_percent_power(queries: int) -> None:
    """The exact power follows from the noncentral t distribution."""
    found = estimate([np.random.default_rng(1).normal(0, 0.3, queries)])
    shift = found.minimum_detectable_difference() / found.standard_error
    critical = scipy.stats.t.isf(0.025, queries - 1)
    power = scipy.stats.nct.sf(critical, queries - 1, shift) + scipy.stats.nct.cdf(-critical, queries - 1, shift)
    assert power == pytest.approx(0.8, abs=0.012)


def test_the_minimum_detectable_difference_has_80_percent_power_in_a_simulation() -> None:
    rng = np.random.default_rng(2)
    true = estimate([rng.normal(0, 0.3, 4000)]).minimum_detectable_difference() * np.sqrt(4000 / 60)
    found = [scipy.stats.ttest_1samp(values, 0).pvalue <= 0.05 for values in rng.normal(true, 0.3, (2000, 60))]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


# ------------------------------------------------------------------------------------------------------------- seeds


def crossed_anova(values: np.ndarray) -> tuple[float, float]:
    """Return the variance of the mean of (seeds, queries) by a literal analysis of variance, and its freedom."""
    seeds, queries = values.shape
    cells = list(itertools.product(range(seeds), range(queries)))
    mean = sum(values[cell] for cell in cells) / len(cells)
    of_seed = [sum(values[s, q] for q in range(queries)) / queries for s in range(seeds)]
    of_query = [sum(values[s, q] for s in range(seeds)) / seeds for q in range(queries)]
    seeds_square = queries * sum((m - mean) ** 2 for m in of_seed) / (seeds - 1)
    queries_square = seeds * sum((m - mean) ** 2 for m in of_query) / (queries - 1)
    rest = sum((values[s, q] - of_seed[s] - of_query[q] + mean) ** 2 for s, q in cells)
    rest_square = rest / ((seeds - 1) * (queries - 1))
    component = max(0.0, seeds_square - rest_square)
    variance = (queries_square + component) / (seeds * queries)
    denominator = queries_square**2 / (queries - 1) + (seeds_square**2 / (seeds - 1) if component else 0)
    return variance, max(1.0, (queries_square + component) ** 2 / denominator)


@pytest.mark.parametrize("of_seeds", [0.0, 0.05, 0.5])
def test_seeds_and_queries_form_a_crossed_design(of_seeds: float) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.3, 25) + rng.normal(0, of_seeds, (3, 1)) + rng.normal(0, 0.1, (3, 25))
    found = estimate([values])
    variance, degrees = crossed_anova(values)
    assert (found.mean, found.standard_error**2, found.degrees_of_freedom) == pytest.approx(
        (values.mean(), variance, degrees)
    )


def test_different_seeds_widen_the_interval_and_equal_ones_do_not() -> None:
    values = np.random.default_rng(4).random(80)
    alike, apart = np.stack([values] * 3), np.stack([values - 0.2, values, values + 0.2])
    assert_close(estimate([alike]).interval(), estimate([values]).interval())
    assert (
        estimate([apart]).standard_error > 2 * estimate([values]).standard_error
        and estimate([apart]).degrees_of_freedom < 4
    )


def seeds_coverage(seeds: int, baseline_seeds: int, trials: int) -> float:
    """Return how often the interval of the difference between two trainings contains the true one, which is 0.

    In each trial the p-value must be 5 % or less exactly if the interval does not contain 0.
    """
    rng, covered, found = np.random.default_rng(5), 0, 0
    for _ in range(trials):
        # Two data sets with a common effect of each seed.
        seed_effects = [rng.normal(0, 0.03, (number, 1)) for number in (seeds, baseline_seeds)]
        query_effects = [rng.normal(0, 0.3, (1, queries)) for queries in (60, 120)]
        sides = [
            [queries + of_seeds + rng.normal(0, 0.1, (len(of_seeds), queries.shape[1])) for queries in query_effects]
            for of_seeds in seed_effects
        ]
        low, high = estimate(*sides).interval()[1:]
        covered += low <= 0 <= high
        found += estimate(*sides).p_value() <= 0.05
    assert covered + found == trials
    return covered / trials


def test_intervals_over_seeds_have_95_percent_coverage() -> None:
    # With few seeds, Satterthwaite's degrees of freedom are conservative if queries vary as much as seeds.
    assert seeds_coverage(3, 3, 1500) == pytest.approx(0.95, abs=0.025)
    assert seeds_coverage(5, 5, 800) == pytest.approx(0.95, abs=0.02)


# -------------------------------------------------------------------------------------- coverage


def ties(rng: np.random.Generator, shape: tuple[int, int], share: float, better: float = 0.0) -> np.ndarray:
    """Return differences of values like nDCG: most queries tie, and the others have large differences."""
    one, other = (np.where(rng.random(shape) < 0.5, rng.integers(0, 2, shape), rng.random(shape)) for _ in range(2))
    return np.where(rng.random(shape) < share, 0, np.clip(one + better, 0, 1) - other)


@pytest.mark.parametrize(("share", "better"), [(0.5, 0.0), (0.8, 0.2)])
def test_intervals_of_differences_have_95_percent_coverage(share: float, better: float) -> None:
    rng = np.random.default_rng(6)
    true = ties(np.random.default_rng(7), (1000, 3000), share, better).mean()
    found = [estimate([values]).interval() for values in ties(rng, (2500, 50), share, better)]
    assert np.mean([low <= true <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("queries", "changed", "worse"), [(50, 0.3, 1.0), (90, 0.3, 0.8), (300, 0.1, 1.0)])
def test_intervals_of_drops_have_95_percent_coverage(queries: int, changed: float, worse: float) -> None:
    """Most queries do not change, and most changed ones get worse. At least fifteen queries change on average."""
    rng, shape = np.random.default_rng(10), (3000, queries)
    drops = np.where(rng.random(shape) < 0.4, 1.0, rng.random(shape))
    drops *= (rng.random(shape) < changed) * np.where(rng.random(shape) < worse, 1, -1)
    true, found = changed * 0.7 * (2 * worse - 1), [estimate([values]).interval() for values in drops]
    assert np.mean([low <= true <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


def test_intervals_of_differences_between_slices_have_95_percent_coverage() -> None:
    rng = np.random.default_rng(11)
    inside = np.where(rng.random((3000, 40)) < 0.4, 0, rng.random((3000, 40)))
    rest = np.where(rng.random((3000, 160)) < 0.2, 1, rng.random((3000, 160)))
    found = [welch_difference(*values).interval() for values in zip(inside, rest, strict=True)]
    assert np.mean([low <= 0.3 - 0.6 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


def test_intervals_of_the_mean_of_data_sets_have_95_percent_coverage() -> None:
    rng, kinds = np.random.default_rng(9), ((50, 0.7, 0.2), (150, 0.5, 0.0), (300, 0.2, -0.1))
    true = np.mean([ties(np.random.default_rng(7), (1000, 2000), *kind[1:]).mean() for kind in kinds])
    drawn = zip(*(ties(rng, (2500, kind[0]), *kind[1:]) for kind in kinds), strict=True)
    found = [estimate(of_datasets).interval() for of_datasets in drawn]
    assert np.mean([low <= true <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_systems_that_differ_by_the_margin_are_called_equivalent_in_5_percent(share: float) -> None:
    rng, margin = np.random.default_rng(8), 0.05
    values = ties(rng, (2500, 200), share)
    p_values = [estimate([of_queries - margin]).p_greater(-margin) for of_queries in values]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.02)
    within = [estimate([of_queries - margin]).p_equivalent(margin) for of_queries in values]
    assert np.mean(np.array(within) <= 0.05) <= 0.07


def test_the_interval_of_an_estimate_with_many_degrees_of_freedom_is_normal() -> None:
    low, high = Estimate(0.5, 0.1, 1e9).interval()[1:]
    assert (low, high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-4)

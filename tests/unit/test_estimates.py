"""Means and differences with their errors: Student's, Welch's and a crossed design's, and as sure as they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from encloze.evaluation.estimates import Estimate, difference, estimate
from encloze.intervals import Interval

DRAW = np.random.default_rng(0)
DIFFERENCES = np.where(DRAW.random(60) < 0.5, 0, DRAW.normal(0.01, 0.2, 60))


def close(found: Interval, expected: tuple[float, float, float]) -> None:
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_interval_of_one_data_set_is_students(confidence: float) -> None:
    theirs = scipy.stats.ttest_1samp(DIFFERENCES, 0).confidence_interval(confidence)
    close(estimate([DIFFERENCES]).interval(confidence), (DIFFERENCES.mean(), theirs.low, theirs.high))


def test_the_mean_of_two_data_sets_is_welchs() -> None:
    one, other = DIFFERENCES, DRAW.normal(0.1, 0.4, 17)
    theirs = scipy.stats.ttest_ind(one, -other, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    found = estimate([one, other])
    close(found.interval(), ((one.mean() + other.mean()) / 2, interval.low / 2, interval.high / 2))
    assert found.p_value() == pytest.approx(theirs.pvalue)


def test_values_against_values_are_their_differences() -> None:
    one, other = DRAW.random((2, 40))
    close(estimate([one], [other]).interval(), estimate([one - other]).interval())


@pytest.mark.parametrize("margin", [0.01, 0.08])
@pytest.mark.parametrize("shift", [-0.2, -0.05, 0.0, 0.05])
def test_p_values_are_those_of_two_one_sided_tests(shift: float, margin: float) -> None:
    values = DIFFERENCES + shift
    above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
    found = estimate([values])
    assert found.p_above(-margin) == pytest.approx(above)
    assert found.p_equivalent_within(margin) == pytest.approx(max(above, below))
    assert found.p_value() == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    # Equivalent at 5 % is the same as a 90 % interval within the margins.
    low, high = found.interval(0.9)[1:]
    assert (found.p_equivalent_within(margin) < 0.05) == (-margin < low and high < margin)


def test_values_that_are_all_equal_leave_no_doubt_and_one_says_nothing() -> None:
    nothing = estimate([np.zeros(30)])
    assert nothing.interval() == (0, 0, 0) and nothing.minimum_detectable_difference() == 0
    assert (nothing.p_value(), nothing.p_above(-0.01), nothing.p_above(0.0), nothing.p_equivalent_within(0.01)) == (
        1,
        0,
        1,
        0,
    )
    alone = estimate([np.array([0.5])])
    assert alone.interval() == (0.5, float("-inf"), float("inf"))
    assert alone.p_above(0) == alone.p_above(-0.01) == 0.5 and alone.p_value() == 1


@pytest.mark.parametrize("queries", [10, 50, 300])
def test_the_smallest_difference_is_found_four_times_in_five(queries: int) -> None:
    """By the noncentral t distribution, whose sides the formula adds up."""
    found = estimate([np.random.default_rng(1).normal(0, 0.3, queries)])
    shift = found.minimum_detectable_difference() / found.error
    critical = scipy.stats.t.isf(0.025, queries - 1)
    power = scipy.stats.nct.sf(critical, queries - 1, shift) + scipy.stats.nct.cdf(-critical, queries - 1, shift)
    assert power == pytest.approx(0.8, abs=0.012)


def test_the_smallest_difference_is_found_four_times_in_five_by_simulation() -> None:
    draw = np.random.default_rng(2)
    true = estimate([draw.normal(0, 0.3, 4000)]).minimum_detectable_difference() * np.sqrt(4000 / 60)
    found = [scipy.stats.ttest_1samp(values, 0).pvalue <= 0.05 for values in draw.normal(true, 0.3, (2000, 60))]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


# ------------------------------------------------------------------------------------------------------------- seeds


def crossed(values: np.ndarray) -> tuple[float, float]:
    """The variance of the mean of seeds x queries by the textbook's analysis of variance, cell by cell, and its df."""
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
    doubt = queries_square**2 / (queries - 1) + (seeds_square**2 / (seeds - 1) if component else 0)
    return variance, max(1.0, (queries_square + component) ** 2 / doubt)


@pytest.mark.parametrize("of_seeds", [0.0, 0.05, 0.5])
def test_seeds_and_queries_are_a_crossed_design(of_seeds: float) -> None:
    draw = np.random.default_rng(3)
    values = draw.normal(0, 0.3, 25) + draw.normal(0, of_seeds, (3, 1)) + draw.normal(0, 0.1, (3, 25))
    found = estimate([values])
    variance, freedom = crossed(values)
    assert (found.mean, found.error**2, found.freedom) == pytest.approx((values.mean(), variance, freedom))


def test_seeds_that_differ_make_an_interval_wider_and_equal_ones_leave_it() -> None:
    values = np.random.default_rng(4).random(80)
    alike, apart = np.stack([values] * 3), np.stack([values - 0.2, values, values + 0.2])
    close(estimate([alike]).interval(), estimate([values]).interval())
    assert estimate([apart]).error > 2 * estimate([values]).error and estimate([apart]).freedom < 4


def seeds_coverage(seeds: int, against: int, trials: int) -> float:
    """How often the interval of a difference between seeds of two trainings holds the true one, 0, and is no evidence.

    Both are the same: a p-value is 5 % or less where the interval leaves 0 out.
    """
    draw, held, found = np.random.default_rng(5), 0, 0
    for _ in range(trials):
        # Two data sets; a seed that is good on the one is good on the other.
        good = [draw.normal(0, 0.03, (number, 1)) for number in (seeds, against)]
        asked = [draw.normal(0, 0.3, (1, queries)) for queries in (60, 120)]
        sides = [
            [queries + of_seeds + draw.normal(0, 0.1, (len(of_seeds), queries.shape[1])) for queries in asked]
            for of_seeds in good
        ]
        low, high = estimate(*sides).interval()[1:]
        held += low <= 0 <= high
        found += estimate(*sides).p_value() <= 0.05
    assert held + found == trials
    return held / trials


def test_intervals_over_seeds_hold_95_of_100() -> None:
    # With few seeds t with Satterthwaite's freedom errs to the safe side where queries say as much as seeds.
    assert seeds_coverage(3, 3, 1500) == pytest.approx(0.95, abs=0.025)
    assert seeds_coverage(5, 5, 800) == pytest.approx(0.95, abs=0.02)


# -------------------------------------------------------------------------------------- intervals hold what they say


def ties(draw: np.random.Generator, shape: tuple[int, int], share: float, better: float = 0.0) -> np.ndarray:
    """Differences of values like nDCG: most queries tie, the others lie far apart."""
    one, other = (np.where(draw.random(shape) < 0.5, draw.integers(0, 2, shape), draw.random(shape)) for _ in range(2))
    return np.where(draw.random(shape) < share, 0, np.clip(one + better, 0, 1) - other)


@pytest.mark.parametrize(("share", "better"), [(0.5, 0.0), (0.8, 0.2)])
def test_intervals_of_differences_hold_95_of_100(share: float, better: float) -> None:
    draw = np.random.default_rng(6)
    true = ties(np.random.default_rng(7), (1000, 3000), share, better).mean()
    found = [estimate([values]).interval() for values in ties(draw, (2500, 50), share, better)]
    assert np.mean([low <= true <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("queries", "changed", "worse"), [(50, 0.3, 1.0), (90, 0.3, 0.8), (300, 0.1, 1.0)])
def test_intervals_of_losses_hold_95_of_100(queries: int, changed: float, worse: float) -> None:
    """Most queries lose nothing, and most of the others lose: skewed, where at least fifteen change."""
    draw, shape = np.random.default_rng(10), (3000, queries)
    lost = np.where(draw.random(shape) < 0.4, 1.0, draw.random(shape))
    lost *= (draw.random(shape) < changed) * np.where(draw.random(shape) < worse, 1, -1)
    true, found = changed * 0.7 * (2 * worse - 1), [estimate([values]).interval() for values in lost]
    assert np.mean([low <= true <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


def test_intervals_of_differences_between_slices_hold_95_of_100() -> None:
    draw = np.random.default_rng(11)
    inside = np.where(draw.random((3000, 40)) < 0.4, 0, draw.random((3000, 40)))
    rest = np.where(draw.random((3000, 160)) < 0.2, 1, draw.random((3000, 160)))
    found = [difference(*values).interval() for values in zip(inside, rest, strict=True)]
    assert np.mean([low <= 0.3 - 0.6 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


def test_intervals_of_the_mean_of_data_sets_hold_95_of_100() -> None:
    draw, kinds = np.random.default_rng(9), ((50, 0.7, 0.2), (150, 0.5, 0.0), (300, 0.2, -0.1))
    true = np.mean([ties(np.random.default_rng(7), (1000, 2000), *kind[1:]).mean() for kind in kinds])
    drawn = zip(*(ties(draw, (2500, kind[0]), *kind[1:]) for kind in kinds), strict=True)
    found = [estimate(of_datasets).interval() for of_datasets in drawn]
    assert np.mean([low <= true <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_systems_that_differ_by_the_margin_are_called_equivalent_5_times_in_100(share: float) -> None:
    draw, margin = np.random.default_rng(8), 0.05
    values = ties(draw, (2500, 200), share)
    p_values = [estimate([of_queries - margin]).p_above(-margin) for of_queries in values]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.02)
    within = [estimate([of_queries - margin]).p_equivalent_within(margin) for of_queries in values]
    assert np.mean(np.array(within) <= 0.05) <= 0.07


def test_an_estimate_can_be_made_by_hand() -> None:
    low, high = Estimate(0.5, 0.1, 1e9).interval()[1:]
    assert (low, high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-4)

"""Intervals and p-values agree with scipy and enumeration, and have the nominal coverage and error rates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from encloze.evaluation.significance import bootstrap, holm, randomization_test
from encloze.intervals import Interval

values_of = st.lists(st.integers(-20, 20).map(lambda number: number / 10), min_size=2, max_size=30).map(np.array)


def test_intervals_have_the_nominal_coverage() -> None:
    rng = np.random.default_rng(7)
    for confidence, low, high in ((0.95, 0.90, 0.985), (0.8, 0.73, 0.87)):
        covered = 0
        for number in range(300):
            interval = bootstrap(rng.normal(0.3, 1, 60), confidence=confidence, samples=400, seed=number)
            covered += interval.low <= 0.3 <= interval.high
        assert low < covered / 300 < high


def values_like_ndcg(rng: np.random.Generator, shape: tuple[int, int], zeros: float, ones: float) -> np.ndarray:
    """Return zeros, ones, and values in between: 1 / log2(1 + rank), or random ones as with several grades."""
    kind = rng.random(shape)
    between = np.where(rng.random(shape) < 0.4, rng.beta(2, 2, shape), 1 / np.log2(1 + rng.integers(2, 11, shape)))
    return np.where(kind < zeros, 0, np.where(kind < zeros + ones, 1, between))


def coverage(queries: int, zeros: float, ones: float, trials: int) -> float:
    """Return how often the interval of values like nDCG contains their true mean."""
    rng = np.random.default_rng(11)
    true = values_like_ndcg(np.random.default_rng(12), (1000, 2000), zeros, ones).mean()
    intervals = [
        bootstrap(values, samples=1000, seed=number)
        for number, values in enumerate(values_like_ndcg(rng, (trials, queries), zeros, ones))
    ]
    return float(np.mean([interval.low <= true <= interval.high for interval in intervals]))


@pytest.mark.parametrize(("queries", "zeros", "ones"), [(50, 0.85, 0.05), (100, 0.3, 0.2)])
def test_intervals_of_values_like_ndcg_have_95_percent_coverage(queries: int, zeros: float, ones: float) -> None:
    # Percentile intervals of the first case have a coverage of 92 %.
    assert coverage(queries, zeros, ones, 1200) == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("queries", [50, 300])
@pytest.mark.parametrize(("zeros", "ones"), [(0.85, 0.05), (0.6, 0.15), (0.3, 0.2), (0.03, 0.85)])
def test_intervals_of_other_distributions_have_95_percent_coverage(queries: int, zeros: float, ones: float) -> None:
    assert coverage(queries, zeros, ones, 1200) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("confidence", [0.95, 0.8])
@pytest.mark.parametrize("skewed", [0, 3])
def test_intervals_are_scipys_bca(skewed: int, confidence: float) -> None:
    values = np.random.default_rng(3).random(60) ** (1 + skewed)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20000, confidence_level=confidence, method="BCa", rng=np.random.default_rng(4)
    ).confidence_interval
    mine = bootstrap(values, confidence=confidence, samples=20000)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))


def test_the_interval_of_many_values_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(5, 2, 2000)
    interval = bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=half * 0.1)


def test_the_interval_of_one_value_is_infinite() -> None:
    assert bootstrap(np.array([0.25])) == Interval(0.25, float("-inf"), float("inf"))


def test_the_interval_of_equal_values_is_a_point() -> None:
    assert bootstrap(np.full(40, 0.5)) == (0.5, 0.5, 0.5)


@settings(deadline=None, max_examples=40)
@given(values=values_of)
def test_the_mean_is_inside_its_interval_and_that_inside_the_values(values: np.ndarray) -> None:
    mean, low, high = bootstrap(values, samples=300)
    assert mean == pytest.approx(values.mean(), abs=1e-12)
    assert values.min() - 1e-9 <= low <= mean + 1e-9 and mean - 1e-9 <= high <= values.max() + 1e-9


@settings(deadline=None, max_examples=40)
@given(values=values_of, factor=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_intervals_are_equivariant_under_shift_and_scale(values: np.ndarray, factor: float, shift: float) -> None:
    moved = bootstrap(values * factor + shift, samples=300)
    np.testing.assert_allclose(moved, np.array(bootstrap(values, samples=300)) * factor + shift, atol=1e-9)


def test_higher_confidence_gives_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(50)
    wide, narrow = bootstrap(values, confidence=0.99), bootstrap(values, confidence=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_paired_differences_have_narrower_intervals() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200)
    better = base + 0.02 + rng.normal(0, 0.01, 200)
    paired = bootstrap(better - base)
    assert paired.low > 0
    assert bootstrap(better).low < bootstrap(base).high  # intervals of the two means overlap


def test_results_depend_on_the_seed_only() -> None:
    first, second = np.random.default_rng(0).random((2, 80))
    assert bootstrap(first, seed=3) == bootstrap(first, seed=3) != bootstrap(first, seed=4)
    p_values = [randomization_test(first, second, seed=seed) for seed in (3, 3, 4)]
    assert p_values[0] == p_values[1] != p_values[2]


def test_many_queries_are_sampled_in_chunks_with_the_same_distribution() -> None:
    values = np.random.default_rng(2).random(3001)  # samples x queries exceed one chunk
    interval = bootstrap(values, samples=2000)
    half = 1.96 * values.std() / np.sqrt(3001)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.15)
    difference = np.random.default_rng(3).normal(0.001, 0.05, 3001)
    normal = 2 * norm.sf(abs(difference.sum()) / np.sqrt((difference**2).sum()))
    assert randomization_test(difference, np.zeros(3001), samples=4000) == pytest.approx(normal, abs=0.03)


# ------------------------------------------------------------------------------------------------------ randomization


def enumerated(difference: np.ndarray) -> float:
    """Return the p-value over all assignments of signs."""
    sums = [abs(sum(sign * value for sign, value in zip(signs, difference, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(difference))]  # fmt: skip
    return float(np.mean(np.array(sums) >= abs(sum(difference)) - 1e-9))


@settings(deadline=None, max_examples=40)
@given(
    first=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    second=st.lists(st.integers(0, 20), min_size=8, max_size=8),
)
def test_p_values_agree_with_the_enumeration_of_sign_flips(first: list[int], second: list[int]) -> None:
    one, other = np.array(first) / 10, np.array(second[: len(first)]) / 10
    found = randomization_test(one, other, samples=20000)
    assert found == pytest.approx(enumerated(one - other), abs=0.02)


def test_equal_values_have_a_p_value_of_1() -> None:
    values = np.random.default_rng(0).random(30)
    assert randomization_test(values, values) == 1


@settings(deadline=None, max_examples=60)
@given(numbers=st.lists(st.integers(-10, 10), min_size=1, max_size=8))
def test_canceling_differences_have_a_p_value_of_1_despite_rounding(numbers: list[int]) -> None:
    difference = np.array([*numbers, -sum(numbers)]) / 10  # 0.1 + 0.2 - 0.3 is not 0
    assert randomization_test(difference, np.zeros(len(difference)), samples=200) == 1


@settings(deadline=None, max_examples=30)
@given(values=values_of)
def test_the_test_is_symmetric(values: np.ndarray) -> None:
    other = values[::-1]
    assert randomization_test(values, other, samples=500) == randomization_test(other, values, samples=500)


def test_the_smallest_p_value_is_one_over_the_samples_plus_1() -> None:
    assert randomization_test(np.ones(100), np.zeros(100), samples=999) == pytest.approx(1 / 1000)


def rejection_rate(queries: int, ties: float, trials: int, samples: int = 1000) -> float:
    """Return how often the test at 5 % rejects the null hypothesis for two equally good systems."""
    rng = np.random.default_rng(21)
    one, other = (values_like_ndcg(rng, (trials, queries), 0.3, 0.3) for _ in range(2))
    one = np.where(rng.random((trials, queries)) < ties, other, one)
    p_values = [
        randomization_test(*pair, samples=samples, seed=number)
        for number, pair in enumerate(zip(one, other, strict=True))
    ]
    return float(np.mean(np.array(p_values) <= 0.05))


@pytest.mark.parametrize(("queries", "ties"), [(50, 0.5), (150, 0.9)])
def test_the_rejection_rate_without_a_difference_is_5_percent(queries: int, ties: float) -> None:
    assert rejection_rate(queries, ties, 1200) == pytest.approx(0.05, abs=0.02)


def test_the_rejection_rate_on_the_mean_of_data_sets_is_5_percent() -> None:
    """Data sets have equal weight, so queries of small ones have a larger weight, as in a comparison."""
    rng, trials, sizes = np.random.default_rng(22), 1200, (40, 120, 240)
    sides = [[values_like_ndcg(rng, (trials, queries), 0.3, 0.3) / queries for queries in sizes] for _ in range(2)]
    one, other = (np.concatenate(side, axis=1) for side in sides)
    one = np.where(rng.random(one.shape) < 0.5, other, one)
    found = [randomization_test(*pair, samples=1000, seed=at) for at, pair in enumerate(zip(one, other, strict=True))]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("queries", [50, 100, 300])
def test_the_rejection_rate_with_more_ties_is_5_percent(queries: int, ties: float) -> None:
    assert rejection_rate(queries, ties, 2500) == pytest.approx(0.05, abs=0.02)


def test_p_values_without_a_difference_are_uniform() -> None:
    rng = np.random.default_rng(5)
    p_values = [randomization_test(*rng.normal(0, 1, (2, 30)), samples=300, seed=number) for number in range(300)]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09
    assert 0.42 < np.mean(np.array(p_values) <= 0.5) < 0.58


# -------------------------------------------------------------------------------------------------------------- holm


def test_holm_of_small_examples() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def by_definition(p_values: Sequence[float]) -> list[float]:
    """Return the maximum of (m - j + 1) p(j) over all p(j) that are not larger, at most 1."""
    ordered = sorted(p_values)
    count = len(ordered)
    return [
        min(1.0, max((count - rank) * other for rank, other in enumerate(ordered) if rank <= ordered.index(value)))
        for value in p_values
    ]


@given(p_values=st.lists(st.floats(0.0001, 1), min_size=1, max_size=8, unique=True))
def test_holm_agrees_with_its_definition(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(by_definition(p_values))


@given(p_values=st.lists(st.sampled_from([0.01, 0.02, 0.2, 0.9]), min_size=1, max_size=8))
def test_adjusted_p_values_keep_order_and_ties(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for (one, adjusted_one), (other, adjusted_other) in itertools.combinations(zip(p_values, adjusted, strict=True), 2):
        assert (adjusted_one <= adjusted_other) if one <= other else (adjusted_one >= adjusted_other)
        assert adjusted_one == adjusted_other or one != other
    assert all(new >= old for new, old in zip(adjusted, p_values, strict=True))

"""Intervals and p-values say how sure a mean is: checked by simulation, by enumeration and by hand."""

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


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    draw = np.random.default_rng(7)
    for confidence, least, most in ((0.95, 0.90, 0.985), (0.8, 0.73, 0.87)):
        held = 0
        for number in range(300):
            interval = bootstrap(draw.normal(0.3, 1, 60), confidence=confidence, samples=400, seed=number)
            held += interval.low <= 0.3 <= interval.high
        assert least < held / 300 < most


def values_like_ndcg(draw: np.random.Generator, shape: tuple[int, int], zeros: float, ones: float) -> np.ndarray:
    """Zeros, ones, and in between what lists 1 / log2(1 + rank) and what other grades make of it."""
    kind = draw.random(shape)
    between = np.where(draw.random(shape) < 0.4, draw.beta(2, 2, shape), 1 / np.log2(1 + draw.integers(2, 11, shape)))
    return np.where(kind < zeros, 0, np.where(kind < zeros + ones, 1, between))


def coverage(queries: int, zeros: float, ones: float, trials: int) -> float:
    """How often the interval of values like nDCG holds their true mean."""
    draw = np.random.default_rng(11)
    true = values_like_ndcg(np.random.default_rng(12), (1000, 2000), zeros, ones).mean()
    intervals = [
        bootstrap(values, samples=1000, seed=number)
        for number, values in enumerate(values_like_ndcg(draw, (trials, queries), zeros, ones))
    ]
    return float(np.mean([interval.low <= true <= interval.high for interval in intervals]))


@pytest.mark.parametrize(("queries", "zeros", "ones"), [(50, 0.85, 0.05), (100, 0.3, 0.2)])
def test_intervals_of_values_like_ndcg_hold_95_of_100(queries: int, zeros: float, ones: float) -> None:
    # The first are 92 of 100 with plain percentiles.
    assert coverage(queries, zeros, ones, 1200) == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("queries", [50, 300])
@pytest.mark.parametrize(("zeros", "ones"), [(0.85, 0.05), (0.6, 0.15), (0.3, 0.2), (0.03, 0.85)])
def test_intervals_of_all_kinds_of_values_hold_95_of_100(queries: int, zeros: float, ones: float) -> None:
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


def test_an_interval_is_as_wide_as_the_normal_law_says() -> None:
    values = np.random.default_rng(1).normal(5, 2, 2000)
    interval = bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=half * 0.1)


def test_one_value_says_nothing_about_others() -> None:
    assert bootstrap(np.array([0.25])) == Interval(0.25, float("-inf"), float("inf"))


def test_equal_values_leave_no_doubt() -> None:
    assert bootstrap(np.full(40, 0.5)) == (0.5, 0.5, 0.5)


@settings(deadline=None, max_examples=40)
@given(values=values_of)
def test_the_mean_lies_within_its_interval_and_that_within_the_values(values: np.ndarray) -> None:
    mean, low, high = bootstrap(values, samples=300)
    assert mean == pytest.approx(values.mean(), abs=1e-12)
    assert values.min() - 1e-9 <= low <= mean + 1e-9 and mean - 1e-9 <= high <= values.max() + 1e-9


@settings(deadline=None, max_examples=40)
@given(values=values_of, factor=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_an_interval_moves_and_stretches_with_the_values(values: np.ndarray, factor: float, shift: float) -> None:
    moved = bootstrap(values * factor + shift, samples=300)
    np.testing.assert_allclose(moved, np.array(bootstrap(values, samples=300)) * factor + shift, atol=1e-9)


def test_more_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(50)
    wide, narrow = bootstrap(values, confidence=0.99), bootstrap(values, confidence=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_pairing_makes_the_interval_of_a_difference_narrow() -> None:
    draw = np.random.default_rng(0)
    base = draw.random(200)
    better = base + 0.02 + draw.normal(0, 0.01, 200)
    paired = bootstrap(better - base)
    assert paired.low > 0
    assert bootstrap(better).low < bootstrap(base).high  # the two means alone would not show it


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    first, second = np.random.default_rng(0).random((2, 80))
    assert bootstrap(first, seed=3) == bootstrap(first, seed=3) != bootstrap(first, seed=4)
    p_values = [randomization_test(first, second, seed=seed) for seed in (3, 3, 4)]
    assert p_values[0] == p_values[1] != p_values[2]


def test_many_queries_are_drawn_in_parts_of_the_same_law() -> None:
    values = np.random.default_rng(2).random(3001)  # more samples x queries than are held at once
    interval = bootstrap(values, samples=2000)
    half = 1.96 * values.std() / np.sqrt(3001)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.15)
    difference = np.random.default_rng(3).normal(0.001, 0.05, 3001)
    normal = 2 * norm.sf(abs(difference.sum()) / np.sqrt((difference**2).sum()))
    assert randomization_test(difference, np.zeros(3001), samples=4000) == pytest.approx(normal, abs=0.03)


# ------------------------------------------------------------------------------------------------------ randomisation


def enumerated(difference: np.ndarray) -> float:
    """The p-value over every choice of signs."""
    sums = [abs(sum(sign * value for sign, value in zip(signs, difference, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(difference))]  # fmt: skip
    return float(np.mean(np.array(sums) >= abs(sum(difference)) - 1e-9))


@settings(deadline=None, max_examples=40)
@given(
    first=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    second=st.lists(st.integers(0, 20), min_size=8, max_size=8),
)
def test_p_values_are_those_of_all_sign_flips(first: list[int], second: list[int]) -> None:
    one, other = np.array(first) / 10, np.array(second[: len(first)]) / 10
    found = randomization_test(one, other, samples=20000)
    assert found == pytest.approx(enumerated(one - other), abs=0.02)


def test_a_difference_of_nothing_is_no_evidence() -> None:
    values = np.random.default_rng(0).random(30)
    assert randomization_test(values, values) == 1


@settings(deadline=None, max_examples=60)
@given(numbers=st.lists(st.integers(-10, 10), min_size=1, max_size=8))
def test_differences_that_cancel_are_no_evidence_though_binary_numbers_add_up_badly(numbers: list[int]) -> None:
    difference = np.array([*numbers, -sum(numbers)]) / 10  # 0.1 + 0.2 - 0.3 is not 0
    assert randomization_test(difference, np.zeros(len(difference)), samples=200) == 1


@settings(deadline=None, max_examples=30)
@given(values=values_of)
def test_the_test_has_two_sides(values: np.ndarray) -> None:
    other = values[::-1]
    assert randomization_test(values, other, samples=500) == randomization_test(other, values, samples=500)


def test_a_p_value_is_never_below_what_the_samples_can_show() -> None:
    assert randomization_test(np.ones(100), np.zeros(100), samples=999) == pytest.approx(1 / 1000)


def rejected(queries: int, ties: float, trials: int, samples: int = 1000) -> float:
    """How often two systems that are as good as each other are told apart at 5 %."""
    draw = np.random.default_rng(21)
    one, other = (values_like_ndcg(draw, (trials, queries), 0.3, 0.3) for _ in range(2))
    one = np.where(draw.random((trials, queries)) < ties, other, one)
    p_values = [
        randomization_test(*pair, samples=samples, seed=number)
        for number, pair in enumerate(zip(one, other, strict=True))
    ]
    return float(np.mean(np.array(p_values) <= 0.05))


@pytest.mark.parametrize(("queries", "ties"), [(50, 0.5), (150, 0.9)])
def test_where_there_is_no_difference_5_of_100_are_found(queries: int, ties: float) -> None:
    assert rejected(queries, ties, 1200) == pytest.approx(0.05, abs=0.02)


def test_on_the_mean_of_data_sets_5_of_100_are_found_where_there_is_no_difference() -> None:
    """Data sets count the same, so queries of small ones weigh more: as a comparison tests their mean."""
    draw, trials, sizes = np.random.default_rng(22), 1200, (40, 120, 240)
    sides = [[values_like_ndcg(draw, (trials, queries), 0.3, 0.3) / queries for queries in sizes] for _ in range(2)]
    one, other = (np.concatenate(side, axis=1) for side in sides)
    one = np.where(draw.random(one.shape) < 0.5, other, one)
    found = [randomization_test(*pair, samples=1000, seed=at) for at, pair in enumerate(zip(one, other, strict=True))]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("queries", [50, 100, 300])
def test_whatever_the_ties_5_of_100_are_found(queries: int, ties: float) -> None:
    assert rejected(queries, ties, 2500) == pytest.approx(0.05, abs=0.02)


def test_p_values_are_even_where_there_is_no_difference() -> None:
    draw = np.random.default_rng(5)
    p_values = [randomization_test(*draw.normal(0, 1, (2, 30)), samples=300, seed=number) for number in range(300)]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09
    assert 0.42 < np.mean(np.array(p_values) <= 0.5) < 0.58


# -------------------------------------------------------------------------------------------------------------- holm


def test_holm_gives_the_figures_worked_out_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def by_definition(p_values: Sequence[float]) -> list[float]:
    """The corrected value of each: the largest of (m - j + 1) p(j) over all that are not larger, at most 1."""
    ordered = sorted(p_values)
    count = len(ordered)
    return [
        min(1.0, max((count - place) * other for place, other in enumerate(ordered) if place <= ordered.index(value)))
        for value in p_values
    ]


@given(p_values=st.lists(st.floats(0.0001, 1), min_size=1, max_size=8, unique=True))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(by_definition(p_values))


@given(p_values=st.lists(st.sampled_from([0.01, 0.02, 0.2, 0.9]), min_size=1, max_size=8))
def test_corrected_p_values_keep_their_order_and_equals_stay_equal(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for (one, held), (other, next_held) in itertools.combinations(zip(p_values, corrected, strict=True), 2):
        assert (held <= next_held) if one <= other else (held >= next_held)
        assert held == next_held or one != other
    assert all(new >= old for new, old in zip(corrected, p_values, strict=True))

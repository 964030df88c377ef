"""Figures of embeddings are what their papers say, on literal sums and on rows whose figures are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from encloze.evaluation.geometry import (
    alignment,
    centered_cosine,
    effective_rank,
    pc1_variance_share,
    hubs,
    norm_variation,
    mean_cosine,
    pair_auc,
    uniformity,
)
from encloze.evaluation.panel import dense_figures

Measure = Callable[[np.ndarray], float]
OF_ROWS: list[Measure] = [mean_cosine, centered_cosine, effective_rank, pc1_variance_share, norm_variation, uniformity]


def rows(count: int = 40, width: int = 7, seed: int = 0) -> np.ndarray:
    """Rows of unlike lengths around a point that is not 0."""
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(count, width)) * draw.uniform(0.5, 2, (count, 1)) + draw.normal(size=width)).astype(
        np.float32
    )


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return sum(float(x) * float(y) for x, y in zip(one, other, strict=True)) / math.sqrt(
        sum(float(x) ** 2 for x in one) * sum(float(y) ** 2 for y in other)
    )


def test_cosines_and_uniformity_are_means_over_all_pairs() -> None:
    some = rows()
    off = some.astype(float) - some.astype(float).mean(axis=0)
    pairs = list(permutations(range(len(some)), 2))
    cosines = [cosine(some[i], some[j]) for i, j in pairs]
    assert mean_cosine(some) == pytest.approx(np.mean(cosines), abs=1e-12)
    squares = [cosine(off[i], off[j]) ** 2 for i, j in pairs]
    assert centered_cosine(some) == pytest.approx(math.sqrt(np.mean(squares)), abs=1e-12)
    spread = [math.exp(-2 * (2 - 2 * value)) for value in cosines]
    assert uniformity(some) == pytest.approx(math.log(np.mean(spread)), abs=1e-12)


def test_many_rows_are_compared_a_part_at_a_time() -> None:
    some = rows(1100, 5)
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    distances = np.square(unit[:, None].astype(float) - unit[None]).sum(axis=2)
    apart = ~np.eye(len(some), dtype=bool)
    assert uniformity(some) == pytest.approx(math.log(np.exp(-2 * distances[apart]).mean()), abs=1e-6)
    distances[~apart] = np.inf
    times = np.bincount(np.argsort(distances, axis=1)[:, :3].ravel(), minlength=len(some))
    found = hubs(some, 3)
    assert found.never == (times == 0).mean()
    off = times - times.mean()
    assert found.skew == pytest.approx((off**3).mean() / (off**2).mean() ** 1.5)


def test_ranks_come_from_the_spectrum_of_the_covariance() -> None:
    some = rows()
    variances = np.linalg.eigvalsh(np.cov(some.astype(float).T))
    shares = np.sqrt(variances) / np.sqrt(variances).sum()
    assert effective_rank(some) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-9)
    assert pc1_variance_share(some) == pytest.approx(variances.max() / variances.sum(), rel=1e-9)


def test_what_points_everywhere_is_even() -> None:
    some = np.random.default_rng(0).normal(size=(3000, 32))
    assert mean_cosine(some) == pytest.approx(0, abs=0.002)
    assert centered_cosine(some) == pytest.approx(32**-0.5, rel=0.01)
    assert effective_rank(some) == pytest.approx(32, rel=0.01)
    assert pc1_variance_share(some) == pytest.approx(1 / 32, rel=0.3)
    assert -4 < uniformity(some) < -3.7
    assert abs(hubs(some, 10).skew) < 0.5 and hubs(some, 10).never == 0


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_what_has_collapsed_is_one_point(noise: float) -> None:
    some = np.ones((50, 8)) * 3 + noise * np.random.default_rng(0).normal(size=(50, 8))
    assert (mean_cosine(some), uniformity(some)) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    assert (effective_rank(some), pc1_variance_share(some), centered_cosine(some)) == (1, 1, 1)
    assert alignment(some, some[::-1]) == pytest.approx(0, abs=1e-12)


def test_a_line_and_separate_axes() -> None:
    line = np.outer(np.linspace(-1, 1, 9), np.arange(1.0, 6.0)) + 10
    found = effective_rank(line), pc1_variance_share(line), centered_cosine(line[:4])
    assert found == (pytest.approx(1, abs=1e-6), pytest.approx(1), pytest.approx(1))
    axes = np.eye(6)
    assert mean_cosine(axes) == 0 and uniformity(axes) == pytest.approx(-4)
    assert effective_rank(axes) == pytest.approx(5)  # the mean takes one
    assert alignment(axes, np.roll(axes, 1, axis=0)) == pytest.approx(2)
    assert alignment(axes, -axes) == pytest.approx(4)
    assert norm_variation(axes) == 0 and norm_variation(np.zeros((3, 2))) == 0
    assert norm_variation(np.array([[3.0, 4.0], [0.0, 15.0]])) == pytest.approx(0.5)


def test_a_pair_is_held_against_strangers() -> None:
    firsts, seconds = rows(20, 5, seed=1), rows(20, 5, seed=2)
    strangers = np.random.default_rng(0).random((20, 20)) < 0.7
    strangers[np.arange(20), np.arange(20)] = False
    strangers[4] = False  # nothing to be held against
    shares = []
    for row in (row for row in range(20) if row != 4):
        own = cosine(firsts[row], seconds[row])
        others = [cosine(firsts[row], seconds[other]) for other in range(20) if strangers[row, other]]
        shares.append(np.mean([other < own for other in others]))
    assert pair_auc(firsts, seconds, strangers) == pytest.approx(np.mean(shares))
    apart = ~np.eye(20, dtype=bool)
    assert pair_auc(firsts, firsts, apart) == 1 and pair_auc(firsts, -firsts, apart) == 0
    point = np.ones((20, 5))
    assert pair_auc(point, point, apart) == 0.5


def test_a_hub_is_near_to_all() -> None:
    around = np.eye(12)
    some = np.vstack([around, around.sum(axis=0)])  # every axis is nearest to their sum
    found = hubs(some, 1)
    assert found.skew > 3 and found.never == pytest.approx(11 / 13)
    ring = np.arange(8) * math.pi / 4
    even = hubs(np.stack([np.cos(ring), np.sin(ring)], axis=1), 2)
    assert even == (0, 0)


@pytest.mark.parametrize(
    "measure", [*OF_ROWS, lambda some: hubs(some, 4).skew, lambda some: alignment(some, some[::-1])]
)
def test_rotating_changes_nothing(measure: Measure) -> None:
    some = rows().astype(float)
    turned = some @ np.linalg.qr(np.random.default_rng(3).normal(size=(7, 7)))[0]
    assert measure(turned) == pytest.approx(measure(some), rel=1e-9)
    assert measure(5 * some) == pytest.approx(measure(some), rel=1e-9)


@pytest.mark.parametrize(
    "measure", [mean_cosine, uniformity, lambda some: hubs(some, 4).skew, lambda some: alignment(some, some[::-1])]
)
def test_lengths_of_single_rows_change_no_cosine(measure: Measure) -> None:
    some = rows().astype(float)
    longer = some * np.random.default_rng(4).uniform(0.1, 9, (len(some), 1))
    assert measure(longer) == pytest.approx(measure(some), rel=1e-9)


def test_texts_without_a_direction_are_counted_and_left_out_of_the_rest() -> None:
    some = np.random.default_rng(0).normal(size=(40, 8))
    whole, with_zeros, zeros = (
        {one.name: one.value for one in dense_figures(rows, None, normalised=True, neighbours=5)}
        for rows in (some, np.vstack([some, np.zeros((10, 8))]), np.zeros((10, 8)))
    )
    assert with_zeros.pop("without direction") == pytest.approx(0.2) and with_zeros == whole
    assert zeros == {"without direction": 1.0}

"""Statistics of embeddings agree with literal implementations, and with known values of special embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import scipy.stats

from encloze.evaluation.geometry import (
    alignment,
    centered_cosine,
    effective_rank,
    hubness,
    mean_cosine,
    norm_variation,
    pair_auc,
    pc1_variance_share,
    uniformity,
)
from encloze.evaluation.panel_metrics import dense_metrics

Statistic = Callable[[np.ndarray], float]
NORM_STATISTICS: list[Statistic] = [centered_cosine, effective_rank, pc1_variance_share, norm_variation]


def random_rows(count: int = 40, dim: int = 7, seed: int = 0) -> np.ndarray:
    """Return embeddings of different norms with a mean that is not 0."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, dim)) * rng.uniform(0.5, 2, (count, 1)) + rng.normal(size=dim)).astype(np.float32)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return sum(float(x) * float(y) for x, y in zip(one, other, strict=True)) / math.sqrt(
        sum(float(x) ** 2 for x in one) * sum(float(y) ** 2 for y in other)
    )


def test_cosines_and_uniformity_are_means_over_all_pairs() -> None:
    some = random_rows()
    centered = some.astype(float) - some.astype(float).mean(axis=0)
    pairs = list(permutations(range(len(some)), 2))
    cosines = [cosine(some[i], some[j]) for i, j in pairs]
    assert mean_cosine(some) == pytest.approx(np.mean(cosines), abs=1e-12)
    squares = [cosine(centered[i], centered[j]) ** 2 for i, j in pairs]
    assert centered_cosine(some) == pytest.approx(math.sqrt(np.mean(squares)), abs=1e-12)
    kernel = [math.exp(-2 * (2 - 2 * value)) for value in cosines]
    assert uniformity(some) == pytest.approx(math.log(np.mean(kernel)), abs=1e-12)


def test_blocks_of_rows_give_the_same_result_as_all_pairs() -> None:
    some = random_rows(1100, 5)
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    distances = np.square(unit[:, None].astype(float) - unit[None]).sum(axis=2)
    apart = ~np.eye(len(some), dtype=bool)
    assert uniformity(some) == pytest.approx(math.log(np.exp(-2 * distances[apart]).mean()), abs=1e-6)
    distances[~apart] = np.inf
    occurrences = np.bincount(np.argsort(distances, axis=1)[:, :3].ravel(), minlength=len(some))
    found = hubness(some, 3)
    assert found.anti_hub_rate == (occurrences == 0).mean()
    assert found.skewness == pytest.approx(scipy.stats.skew(occurrences))


def test_rank_and_first_component_follow_from_the_covariance_spectrum() -> None:
    some = random_rows()
    variances = np.linalg.eigvalsh(np.cov(some.astype(float).T))
    shares = np.sqrt(variances) / np.sqrt(variances).sum()
    assert effective_rank(some) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-9)
    assert pc1_variance_share(some) == pytest.approx(variances.max() / variances.sum(), rel=1e-9)


def test_isotropic_embeddings() -> None:
    some = np.random.default_rng(0).normal(size=(3000, 32))
    assert mean_cosine(some) == pytest.approx(0, abs=0.002)
    assert centered_cosine(some) == pytest.approx(32**-0.5, rel=0.01)
    assert effective_rank(some) == pytest.approx(32, rel=0.01)
    assert pc1_variance_share(some) == pytest.approx(1 / 32, rel=0.3)
    assert -4 < uniformity(some) < -3.7
    assert abs(hubness(some, 10).skewness) < 0.5 and hubness(some, 10).anti_hub_rate == 0


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_collapsed_embeddings(noise: float) -> None:
    some = np.ones((50, 8)) * 3 + noise * np.random.default_rng(0).normal(size=(50, 8))
    assert (mean_cosine(some), uniformity(some)) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    assert (effective_rank(some), pc1_variance_share(some), centered_cosine(some)) == (1, 1, 1)
    assert alignment(some, some[::-1]) == pytest.approx(0, abs=1e-12)


def test_embeddings_on_a_line_and_orthogonal_embeddings() -> None:
    line = np.outer(np.linspace(-1, 1, 9), np.arange(1.0, 6.0)) + 10
    found = effective_rank(line), pc1_variance_share(line), centered_cosine(line[:4])
    assert found == (pytest.approx(1, abs=1e-6), pytest.approx(1), pytest.approx(1))
    axes = np.eye(6)
    assert mean_cosine(axes) == 0 and uniformity(axes) == pytest.approx(-4)
    assert effective_rank(axes) == pytest.approx(5)  # centering removes one dimension
    assert alignment(axes, np.roll(axes, 1, axis=0)) == pytest.approx(2)
    assert alignment(axes, -axes) == pytest.approx(4)
    assert norm_variation(axes) == 0 and norm_variation(np.zeros((3, 2))) == 0
    assert norm_variation(np.array([[3.0, 4.0], [0.0, 15.0]])) == pytest.approx(0.5)


def test_pair_auc_is_the_mean_share_of_negatives_with_a_lower_cosine() -> None:
    firsts, seconds = random_rows(20, 5, seed=1), random_rows(20, 5, seed=2)
    negatives = np.random.default_rng(0).random((20, 20)) < 0.7
    negatives[np.arange(20), np.arange(20)] = False
    negatives[4] = False  # a row without negatives does not count
    shares = []
    for row in (row for row in range(20) if row != 4):
        own = cosine(firsts[row], seconds[row])
        others = [cosine(firsts[row], seconds[other]) for other in range(20) if negatives[row, other]]
        shares.append(np.mean([other < own for other in others]))
    assert pair_auc(firsts, seconds, negatives) == pytest.approx(np.mean(shares))
    apart = ~np.eye(20, dtype=bool)
    assert pair_auc(firsts, firsts, apart) == 1 and pair_auc(firsts, -firsts, apart) == 0
    point = np.ones((20, 5))
    assert pair_auc(point, point, apart) == 0.5


def test_hubness_of_a_star_and_of_a_ring() -> None:
    around = np.eye(12)
    some = np.vstack([around, around.sum(axis=0)])  # the sum is the nearest neighbor of every axis
    found = hubness(some, 1)
    assert found.skewness > 3 and found.anti_hub_rate == pytest.approx(11 / 13)
    ring = np.arange(8) * math.pi / 4
    even = hubness(np.stack([np.cos(ring), np.sin(ring)], axis=1), 2)
    assert even == (0, 0)


COSINE_STATISTICS: list[Statistic] = [
    mean_cosine,
    uniformity,
    lambda some: hubness(some, 4).skewness,
    lambda some: alignment(some, some[::-1]),
]


def test_statistics_are_invariant_under_rotation_and_scaling() -> None:
    some = random_rows().astype(float)
    rotated = some @ np.linalg.qr(np.random.default_rng(3).normal(size=(7, 7)))[0]
    for statistic in [*NORM_STATISTICS, *COSINE_STATISTICS]:
        assert statistic(rotated) == pytest.approx(statistic(some), rel=1e-9)
        assert statistic(5 * some) == pytest.approx(statistic(some), rel=1e-9)


def test_cosine_statistics_do_not_depend_on_norms() -> None:
    some = random_rows().astype(float)
    scaled = some * np.random.default_rng(4).uniform(0.1, 9, (len(some), 1))
    for statistic in COSINE_STATISTICS:
        assert statistic(scaled) == pytest.approx(statistic(some), rel=1e-9)


def test_embeddings_of_zeros_are_counted_and_excluded_from_the_other_metrics() -> None:
    some = np.random.default_rng(0).normal(size=(40, 8))
    without_zeros, with_zeros, only_zeros = (
        {one.name: one.value for one in dense_metrics(rows, None, is_normalized=True, neighbors=5)}
        for rows in (some, np.vstack([some, np.zeros((10, 8))]), np.zeros((10, 8)))
    )
    assert with_zeros.pop("zero embeddings") == pytest.approx(0.2) and with_zeros == without_zeros
    assert only_zeros == {"zero embeddings": 1.0}

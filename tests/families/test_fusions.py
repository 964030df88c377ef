"""Properties of every rank fusion, and the formula of each."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encloze.search.fusions.base import Fusion
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted

EVERY = pytest.mark.parametrize("name", Fusion.members())
scores_of = st.integers(1, 3).flatmap(
    lambda indexes: st.integers(1, 8).flatmap(
        lambda candidates: st.lists(
            st.lists(st.floats(-100, 100, width=32), min_size=candidates, max_size=candidates),
            min_size=indexes,
            max_size=indexes,
        ).map(np.array)
    )
)


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """Return the rank of each candidate in each index, from 1; ties are in order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.argsort(order, axis=1) + 1.0


@EVERY
@given(scores=scores_of)
def test_a_fusion_returns_one_finite_score_per_candidate(name: str, scores: np.ndarray) -> None:
    fused = Fusion.member(name)().fuse(scores, ranks_of(scores))
    assert fused.shape == scores.shape[1:]
    assert np.isfinite(fused).all()


@EVERY
@given(scores=scores_of, data=st.data())
def test_a_candidate_that_every_index_ranks_higher_is_not_fused_lower(
    name: str, scores: np.ndarray, data: st.DataObject
) -> None:
    better, worse = (data.draw(st.integers(0, scores.shape[1] - 1)) for _ in range(2))
    scores[:, better] = np.maximum(scores[:, better], scores[:, worse])
    ranks = ranks_of(scores)
    ranks[:, better] = np.minimum(ranks[:, better], ranks[:, worse])
    fused = Fusion.member(name)().fuse(scores, ranks)
    assert fused[better] >= fused[worse] - 1e-9


@EVERY
@given(scores=scores_of, data=st.data())
def test_the_order_of_the_candidates_does_not_matter(name: str, scores: np.ndarray, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(scores.shape[1])))
    fusion, ranks = Fusion.member(name)(), ranks_of(scores)
    np.testing.assert_allclose(fusion.fuse(scores[:, order], ranks[:, order]), fusion.fuse(scores, ranks)[order])


@EVERY
def test_no_candidates_give_no_scores(name: str) -> None:
    fused = Fusion.member(name)().fuse(np.empty((2, 0)), np.empty((2, 0)))
    assert fused.shape == (0,)


@EVERY
@pytest.mark.parametrize("indexes", [1, 2, 5])
def test_default_settings_accept_any_number_of_indexes(name: str, indexes: int) -> None:
    fusion = Fusion.member(name)()
    fusion.check(indexes)
    assert fusion.fuse(np.ones((indexes, 2)), np.ones((indexes, 2))).shape == (2,)


# -------------------------------------------------------------------------------------------------- reciprocal rank


def test_reciprocal_rank_matches_hand_computed_scores() -> None:
    ranks = np.array([[1, 2, np.inf], [3, np.inf, 1]])
    fused = ReciprocalRank().fuse(np.zeros((2, 3)), ranks)
    np.testing.assert_allclose(fused, [1 / 61 + 1 / 63, 1 / 62, 1 / 61], rtol=1e-12)
    fused = ReciprocalRank(k=1).fuse(np.zeros((2, 3)), ranks)
    np.testing.assert_allclose(fused, [0.75, 1 / 3, 0.5], rtol=1e-12)


@given(scores=scores_of, k=st.floats(0.5, 1000))
def test_reciprocal_rank_is_within_its_bounds(scores: np.ndarray, k: float) -> None:
    fused = ReciprocalRank(k).fuse(scores, ranks_of(scores))
    assert (fused > 0).all() and (fused <= len(scores) / (k + 1) + 1e-12).all()


@given(scores=scores_of)
def test_reciprocal_rank_ignores_scores(scores: np.ndarray) -> None:
    ranks = ranks_of(scores)
    assert (ReciprocalRank().fuse(scores, ranks) == ReciprocalRank().fuse(scores * -3 + 1, ranks)).all()


def test_a_candidate_that_no_index_returns_scores_zero() -> None:
    assert ReciprocalRank().fuse(np.ones((2, 1)), np.full((2, 1), np.inf)).tolist() == [0]


# --------------------------------------------------------------------------------------------------------- weighted


MIN_MAX = Weighted(normalization="min_max")


def test_weighted_matches_hand_computed_scores() -> None:
    scores = np.array([[0.0, 5.0, 10.0], [-1.0, 1.0, 0.0]])
    unused = np.ones((2, 3))
    np.testing.assert_allclose(MIN_MAX.fuse(scores, unused), [0, 1.5, 1.5])
    np.testing.assert_allclose(Weighted((2, 0.5), "min_max").fuse(scores, unused), [0, 1.5, 2.25])
    np.testing.assert_allclose(Weighted((2, 0.5), "none").fuse(scores, unused), [-0.5, 10.5, 20])
    np.testing.assert_allclose(Weighted(normalization="none").fuse(scores, unused), [-1, 6, 10])
    z = math.sqrt(1.5)  # of 10 among 0, 5 and 10
    np.testing.assert_allclose(Weighted((2, 0.5), "z_score").fuse(scores, unused), [-2.5 * z, 0.5 * z, 2 * z])
    total = math.exp(-z / 3) + 1 + math.exp(z / 3)
    expected = [2 * math.exp(-z / 3) / total, 2 / total, 2 * math.exp(z / 3) / total]
    np.testing.assert_allclose(Weighted((2, 0)).fuse(scores, unused), expected)


def test_an_index_that_does_not_separate_the_candidates_has_little_influence() -> None:
    peaked, flat = np.array([9.0, 1.0, 1.1, 1.2, 0.9, 1.0, 0.8]), np.array([0.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    scores, unused = np.stack([peaked, flat]), np.ones((2, 7))
    assert Weighted().fuse(scores, unused).argmax() == 0
    assert Weighted().fuse(scores[::-1], unused).argmax() == 0


@given(scores=scores_of)
def test_normalized_scores_are_within_their_bounds(scores: np.ndarray) -> None:
    ranks = ranks_of(scores)
    fused = MIN_MAX.fuse(scores, ranks)
    assert (fused >= 0).all() and (fused <= len(scores) + 1e-9).all()
    assert Weighted().fuse(scores, ranks).sum() == pytest.approx(len(scores))


@pytest.mark.parametrize("normalization", ["min_max", "z_score", "softmax"])
@given(scores=st.lists(st.integers(-50, 50), min_size=2, max_size=8, unique=True), shift=st.integers(-9, 9))
def test_normalization_removes_scale_and_offset(
    scores: list[int], shift: int, normalization: Literal["min_max", "z_score", "softmax"]
) -> None:
    original, fusion = np.array([scores, scores[::-1]], float), Weighted((2, 1), normalization)
    rescaled = original * np.array([[7.0], [0.25]]) + shift
    np.testing.assert_allclose(fusion.fuse(rescaled, original), fusion.fuse(original, original), atol=1e-9)


def test_ties_of_one_index_are_broken_by_the_others() -> None:
    scores = np.array([[3.0, 3.0], [1.0, 2.0]])
    assert MIN_MAX.fuse(scores, np.ones((2, 2))).tolist() == [0, 1]
    assert np.diff(Weighted().fuse(scores, np.ones((2, 2))))[0] > 0


def test_a_wrong_number_of_weights_is_rejected() -> None:
    with pytest.raises(ValueError, match="the weighted fusion has 3 weights for 2 indexes"):
        Weighted((1, 2, 3)).check(2)
    Weighted((1, 2)).check(2)

"""Draws depend on their key alone, and are as likely as they should be."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from encloze.evaluation.keyed_random import KeyedRandom


def test_numbers_of_a_key_are_written_down() -> None:
    draw = KeyedRandom(0, "typos", "q", "שלום")
    assert [draw.below(1000) for _ in range(4)] == [738, 403, 790, 560]
    assert KeyedRandom(0, "a").share() != KeyedRandom(1, "a").share() and 0 <= KeyedRandom("\ud800").share() < 1


def test_every_choice_in_every_order_is_as_likely() -> None:
    counts = Counter(tuple(KeyedRandom(key).some("abcd", 2)) for key in range(6000))
    assert set(counts) == set(permutations("abcd", 2))
    assert chisquare(list(counts.values())).pvalue > 0.001


@pytest.mark.parametrize(("count", "drawn"), [(0, 0), (3, 3), (5, 5), (9, 5)])
def test_nothing_is_drawn_twice(count: int, drawn: int) -> None:
    made = KeyedRandom(count).some(np.arange(5), count)
    assert len(set(made)) == len(made) == drawn
    assert KeyedRandom("k").one([7]) == 7 and KeyedRandom("k").some([], 3) == []

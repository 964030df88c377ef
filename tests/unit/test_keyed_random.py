"""Random numbers depend only on the key and have the intended distribution."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from encloze.evaluation.keyed_random import KeyedRandom


def test_numbers_of_a_key_do_not_change_between_versions() -> None:
    rng = KeyedRandom(0, "typos", "q", "שלום")
    assert [rng.randbelow(1000) for _ in range(4)] == [738, 403, 790, 560]
    assert KeyedRandom(0, "a").random() != KeyedRandom(1, "a").random() and 0 <= KeyedRandom("\ud800").random() < 1


def test_samples_are_uniform_over_ordered_subsets() -> None:
    counts = Counter(tuple(KeyedRandom(key).sample("abcd", 2)) for key in range(6000))
    assert set(counts) == set(permutations("abcd", 2))
    assert chisquare(list(counts.values())).pvalue > 0.001


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (3, 3), (5, 5), (9, 5)])
def test_samples_have_distinct_items(count: int, expected: int) -> None:
    sample = KeyedRandom(count).sample(np.arange(5), count)
    assert len(set(sample)) == len(sample) == expected
    assert KeyedRandom("k").choice([7]) == 7 and KeyedRandom("k").sample([], 3) == []

"""Tests of random batches for training with in-batch negatives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.training.candidates import Relevance
from encloze.training.random_batches import RandomPlan


def plan_of(texts: list[set[int]], batch_size: int, seed: int = 0) -> RandomPlan:
    """Return a plan for examples with the given relevant texts and random lengths."""
    offsets = np.cumsum([0, *(len(of_example) for of_example in texts)])
    text_ids = np.array([text for of_example in texts for text in sorted(of_example)], np.int64)
    lengths = np.random.default_rng(7).integers(3, 60, len(texts))
    return RandomPlan(lengths, seed, batch_size, Relevance(offsets, text_ids))


def conflicts(plan: RandomPlan, batch: np.ndarray) -> int:
    """Return how often a relevant text of a batch belongs to another of its examples, too."""
    texts = [text for example in batch for text in plan.relevance.of(int(example))]
    return len(texts) - len(set(texts))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=200), st.integers(2, 33))
def test_an_epoch_has_every_example_once_in_batches_of_nearly_equal_size(texts: list[set[int]], size: int) -> None:
    plan = plan_of(texts, size)
    for epoch in range(2):
        batches = plan.epoch(epoch)
        assert min(map(len, batches)) > 1 or len(texts) == 1
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(texts)))
        assert max(map(len, batches)) <= max(size, 3) and max(map(len, batches)) - min(map(len, batches)) <= 1
        for batch in batches:
            assert (np.diff(plan.lengths[batch]) >= 0).all()


def test_queries_with_a_common_relevant_document_are_in_different_batches() -> None:
    texts = [{number // 9} for number in range(4500)]  # nine questions on each paragraph, as in SQuAD
    plan = plan_of(texts, 32)
    shuffled = np.array_split(np.random.default_rng(0).permutation(4500), len(plan.epoch(0)))
    assert sum(conflicts(plan, batch) for batch in shuffled) > 50
    assert sum(conflicts(plan, batch) for batch in plan.epoch(0)) == 0


def test_a_document_of_too_many_queries_is_spread_evenly() -> None:
    texts = [{0} if number < 300 else {number} for number in range(3200)]  # 300 of 3,200 queries, 100 batches
    counts = [int((batch < 300).sum()) for batch in plan_of(texts, 32).epoch(0)]
    assert sum(counts) == 300 and max(counts) <= 10


def test_the_same_examples_rarely_meet_again() -> None:
    plan = plan_of([{number} for number in range(1600)], 32)
    first, second = (
        {(a, b) for batch in plan.epoch(epoch) for a in batch.tolist() for b in batch.tolist() if a < b}
        for epoch in (0, 1)
    )
    assert len(first & second) < 0.04 * len(first)  # 31 / 1599 = 0.019 is expected


def test_seed_and_epoch_determine_the_batches() -> None:
    texts = [{number // 3} for number in range(200)]
    batches = [np.concatenate(plan_of(texts, 16, seed).epoch(epoch)).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(one) for one in batches}) == 4
    assert batches[0] == np.concatenate(plan_of(texts, 16, 0).epoch(0)).tolist()

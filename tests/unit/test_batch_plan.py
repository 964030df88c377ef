"""Tests of the batch plan and the learning rate schedule, which depend on the seed and the step alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.lr_scheduler import learning_rate_factor

lengths = st.lists(st.integers(3, 60), min_size=1, max_size=300).map(lambda values: np.array(values))


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(0, 3), st.sampled_from([None, 1, 8]), st.sampled_from([None, 64, 200]))
def test_epoch_has_every_example_once_and_batches_respect_limits(
    sizes: np.ndarray, seed: int, batch_size: int | None, batch_tokens: int | None
) -> None:
    plan = LengthGroupedPlan(sizes, seed, batch_tokens, batch_size)
    for epoch in range(2):
        batches = plan.epoch(epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
        for batch in batches:
            assert batch_size is None or len(batch) <= batch_size
            assert batch_tokens is None or len(batch) == 1 or len(batch) * sizes[batch].max() <= batch_tokens


@settings(max_examples=30, deadline=None)
@given(lengths, st.integers(0, 40))
def test_plan_can_start_at_any_step(sizes: np.ndarray, step: int) -> None:
    whole = list(islice(LengthGroupedPlan(sizes, 1, batch_size=8).from_step(0), 60))
    rest = list(islice(LengthGroupedPlan(sizes, 1, batch_size=8).from_step(step), 60 - step))
    assert [one.number for one in whole] == list(range(60))
    for one, other in zip(whole[step:], rest, strict=True):
        assert (one.number, one.epoch, one.examples.tolist()) == (other.number, other.epoch, other.examples.tolist())


def test_batches_have_little_padding() -> None:
    sizes = np.random.default_rng(0).integers(3, 500, 5000)
    batches = LengthGroupedPlan(sizes, 0, batch_tokens=8192).epoch(0)
    padded = sum(len(batch) * sizes[batch].max() for batch in batches)
    assert padded < 1.05 * sizes.sum()


def test_epochs_and_seeds_give_different_orders() -> None:
    plan = LengthGroupedPlan(np.full(100, 10), 0, batch_size=10)
    first = np.concatenate(plan.epoch(0)).tolist()
    assert first != np.concatenate(plan.epoch(1)).tolist()
    assert first != np.concatenate(LengthGroupedPlan(np.full(100, 10), 1, batch_size=10).epoch(0)).tolist()
    assert plan.steps(2) == 20 and plan.steps(0.5) == 5 and plan.steps(1.3) == 13


def test_learning_rate_warmup_and_decay() -> None:
    linear = [learning_rate_factor(step, 100, 10, "linear") for step in range(100)]
    assert linear[0] > 0 and np.argmax(linear) == 10 and linear[10] == 1 and 0 < linear[99] < 0.02
    cosine = [learning_rate_factor(step, 100, 10, "cosine") for step in range(100)]
    assert cosine[55] > linear[55] - 1e-9 and cosine[90] < linear[90] and cosine[99] >= 0
    assert {learning_rate_factor(step, 100, 0, "constant") for step in range(100)} == {1.0}

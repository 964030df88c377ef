"""Whole-word masks: budgets, replacements, and dependence on nothing but (seed, epoch, example, position)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.models.layers.masking import (
    IGNORE_INDEX,
    TokenBatch,
    enhanced_decoding_mask,
    mask_whole_words,
    sample_words,
)
from encloze.models.layers.randomness import derive_keys, example_keys, random_integers, uniform

MASK, VOCABULARY = 4, 1000


def build_batch(word_sizes: list[list[int]], seed: int = 0, epoch: int = 0, first_example: int = 0) -> TokenBatch:
    """Texts with words of the given numbers of tokens; ids count up from 10, special tokens are 1 and 2, padding 0."""
    width, rows = max(sum(sizes) for sizes in word_sizes) + 2, len(word_sizes)
    ids, word_ids = torch.zeros(rows, width, dtype=torch.int64), torch.full((rows, width), -1)
    for row, sizes in enumerate(word_sizes):
        length = sum(sizes)
        ids[row, 0], ids[row, length + 1] = 1, 2
        ids[row, 1 : length + 1] = torch.arange(length) + 10
        repeats = torch.tensor(sizes, dtype=torch.int64)
        word_ids[row, 1 : length + 1] = torch.arange(len(sizes)).repeat_interleave(repeats)
    attention_mask = torch.arange(width) < torch.tensor([sum(sizes) + 2 for sizes in word_sizes])[:, None]
    return TokenBatch(
        ids, attention_mask, word_ids, torch.arange(rows) + first_example, torch.arange(rows), seed, epoch
    )


texts = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=20), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(texts, st.floats(0.05, 0.9), st.integers(0, 5))
def test_words_are_selected_in_random_order_while_they_fit(word_sizes: list[list[int]], rate: float, seed: int) -> None:
    """Equal to a loop over words, as in the published collators, that skips words beyond the remaining budget."""
    batch = build_batch(word_sizes, seed)
    selected = sample_words(batch, rate, 3, stream=0)
    for row, sizes in enumerate(word_sizes):
        for number in range(3):
            remaining = max(1, round((sum(sizes) + 2) * rate))
            row_key = derive_keys(example_keys(seed, 0, 0, batch.example_ids)[row], torch.tensor(number))
            num_words = int(batch.word_ids.max()) + 1
            expected = set()
            for word in derive_keys(row_key, torch.arange(num_words)).argsort().tolist():
                if word < len(sizes) and sizes[word] <= remaining:
                    expected.add(word)
                    remaining -= sizes[word]
            assert set(batch.word_ids[row][selected[row, number]].tolist()) == expected
            whole_words = torch.isin(batch.word_ids[row], torch.tensor(sorted(expected), dtype=torch.int64))
            assert torch.equal(selected[row, number], whole_words)


def test_of_thirty_percent_selected_tokens_eighty_percent_are_masked() -> None:
    batch = build_batch([[1] * 400 for _ in range(50)])
    masked = mask_whole_words(batch, 0.30, MASK, VOCABULARY)
    selected = masked.labels != IGNORE_INDEX
    assert (selected.sum(dim=1) == round(402 * 0.30)).all()
    assert torch.equal(masked.labels[selected], batch.ids[selected])
    assert torch.equal(masked.ids[~selected], batch.ids[~selected])
    is_mask, is_original = masked.ids[selected] == MASK, masked.ids[selected] == batch.ids[selected]
    assert float(is_mask.float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float(is_original.float().mean()) == pytest.approx(0.1, abs=0.02)
    random_ids = masked.ids[selected][~is_mask & ~is_original]
    assert random_ids.min() < 50 and random_ids.max() > 950


def test_special_tokens_and_padding_are_never_selected() -> None:
    batch = build_batch([[2, 1, 3], [1]])
    special = batch.word_ids < 0
    for epoch in range(50):
        masked = mask_whole_words(batch._replace(epoch=epoch), 0.9, MASK, VOCABULARY)
        assert (masked.labels[special] == IGNORE_INDEX).all()
        assert torch.equal(masked.ids[special], batch.ids[special])


def test_enhanced_decoding_mask_hides_half_of_the_text_from_each_position() -> None:
    """As in the published mask: budget or budget + 1 hidden keys per row, key 0 visible, the diagonal hidden."""
    length = 128
    visible = enhanced_decoding_mask(build_batch([[1, 2] * 42, [1] * 60]), 0.5)
    assert visible.shape == (2, length, length)
    hidden = (~visible[0]).sum(dim=1)[1:]
    budget = round(length * 0.5)
    assert set(hidden.tolist()) <= {budget, budget + 1}
    assert not visible[0].diagonal().any()
    assert visible[0, 1:, 0].all() and not visible[0, 0, 0]
    assert visible[0, :-1, length - 1].all()  # the last special token is visible to all other positions
    assert len({tuple(row) for row in visible[0].tolist()}) == length  # each position has its own mask
    real = 62
    assert not visible[1, :real, real:].any()  # padding is visible to no position
    assert visible[1, real:, 0].all() and not visible[1, real:, 1:].any()  # padded queries see key 0 only


def test_num_masks_limits_the_number_of_distinct_masks() -> None:
    visible = enhanced_decoding_mask(build_batch([[1] * 200]), 0.5, num_masks=8)[0]
    without_diagonal = visible | torch.eye(202, dtype=torch.bool)
    masks = {tuple(np.flatnonzero(~row.numpy()).tolist()) for row in without_diagonal[1:201]}
    # If a mask hides the position's own token, the diagonal shows it here: count masks with all 101 hidden keys.
    assert 1 < len({mask for mask in masks if len(mask) == 101}) <= 8


def test_every_position_of_a_text_of_one_word_sees_something() -> None:
    assert enhanced_decoding_mask(build_batch([[1]]), 0.5).any(dim=2).all()


def test_masks_of_a_text_do_not_depend_on_the_rest_of_the_batch() -> None:
    alone, together = build_batch([[2, 1, 1]], first_example=1), build_batch([[1, 1, 4, 2], [2, 1, 1]])
    length = alone.ids.shape[1]
    assert torch.equal(sample_words(alone, 0.5, 4, 0)[0], sample_words(together, 0.5, 4, 0)[1, :, :length])
    first, second = (mask_whole_words(batch, 0.5, MASK, VOCABULARY).ids for batch in (alone, together))
    assert torch.equal(first[0], second[1, :length])


def test_masks_depend_on_seed_epoch_and_example() -> None:
    batch = build_batch([[1] * 100])
    first = sample_words(batch, 0.5, 1, 0)
    others = (batch._replace(seed=1), batch._replace(epoch=1), batch._replace(example_ids=batch.example_ids + 1))
    assert not any(torch.equal(first, sample_words(other, 0.5, 1, 0)) for other in others)
    assert torch.equal(first, sample_words(batch, 0.5, 1, 0))


def test_random_numbers_are_uniform_and_reproducible() -> None:
    numbers = uniform(derive_keys(example_keys(0, 0, 0, torch.arange(100))[:, None], torch.arange(1000)))
    counts = np.histogram(numbers.numpy(), bins=10, range=(0, 1))[0]
    assert (abs(counts - 10_000) < 500).all()
    assert numbers.min() >= 0 and numbers.max() < 1
    neighbors = np.corrcoef(numbers[:, :-1].flatten(), numbers[:, 1:].flatten())[0, 1]
    assert abs(neighbors) < 0.02
    assert random_integers(example_keys(1, 2, 3, torch.arange(1000)), 7).unique().tolist() == list(range(7))
    # A recorded value: other versions of torch and other devices must give the same number.
    assert example_keys(1, 2, 3, torch.tensor([4])).tolist() == [4181974824002594042]

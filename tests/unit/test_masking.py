"""Whole-word masks: their budgets, their words, and that nothing but (seed, epoch, example, place) decides them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.models.layers.masking import IGNORED, TokenBatch, choose, mask_words, visible_to_decoder
from encloze.models.layers.randomness import below, keys, spread, uniform


def batch(sizes: list[list[int]], seed: int = 0, epoch: int = 0, first_example: int = 0) -> TokenBatch:
    """Texts given as the sizes of their words; ids count up from 10, special tokens are 1 and 2, padding 0."""
    width = max(sum(words) for words in sizes) + 2
    ids, words = torch.zeros(len(sizes), width, dtype=torch.int64), torch.full((len(sizes), width), -1)
    for row, of_text in enumerate(sizes):
        length = sum(of_text)
        ids[row, 0], ids[row, length + 1] = 1, 2
        ids[row, 1 : length + 1] = torch.arange(length) + 10
        words[row, 1 : length + 1] = torch.arange(len(of_text)).repeat_interleave(
            torch.tensor(of_text, dtype=torch.int64)
        )
    attention = torch.arange(width) < torch.tensor([sum(of_text) + 2 for of_text in sizes])[:, None]
    return TokenBatch(
        ids, attention, words, torch.arange(len(sizes)) + first_example, torch.arange(len(sizes)), seed, epoch
    )


texts = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=20), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(texts, st.floats(0.05, 0.9), st.integers(0, 5))
def test_whole_words_are_chosen_in_random_order_while_they_fit(sizes: list[list[int]], rate: float, seed: int) -> None:
    """Word by word, as the published collators do it: take what fits the budget, pass over what does not."""
    made = batch(sizes, seed)
    chosen = choose(made, rate, 3, stream=0)
    length = made.ids.shape[1]
    for row, of_text in enumerate(sizes):
        budget = max(1, round((sum(of_text) + 2) * rate))
        for mask in range(3):
            row_key = spread(keys(seed, 0, 0, made.examples)[row], torch.tensor(mask))
            count = int(made.words.max()) + 1
            order = spread(row_key, torch.arange(count)).argsort().tolist()
            expected, left = set(), budget
            for word in order:
                if word < len(of_text) and of_text[word] <= left:
                    expected.add(word)
                    left -= of_text[word]
            got = {int(made.words[row, place]) for place in range(length) if chosen[row, mask, place]}
            assert got == expected
            whole = torch.isin(made.words[row], torch.tensor(sorted(expected), dtype=torch.int64))
            assert torch.equal(chosen[row, mask], whole)


def test_the_encoder_loses_thirty_per_cent_and_eight_of_ten_holes_are_masked() -> None:
    sizes = [[1] * 400 for _ in range(50)]
    made = batch(sizes)
    masked = mask_words(made, 0.30, mask_id=4, vocabulary=1000)
    holes = masked.labels != IGNORED
    assert (holes.sum(dim=1) == round(402 * 0.30)).all()
    assert torch.equal(masked.labels[holes], made.ids[holes])
    assert torch.equal(masked.ids[~holes], made.ids[~holes])
    share_masked = float((masked.ids[holes] == 4).float().mean())
    share_kept = float((masked.ids[holes] == made.ids[holes]).float().mean())
    assert share_masked == pytest.approx(0.8, abs=0.02)
    assert share_kept == pytest.approx(0.1, abs=0.02)
    random_ids = masked.ids[holes][(masked.ids[holes] != 4) & (masked.ids[holes] != made.ids[holes])]
    assert random_ids.min() < 50 and random_ids.max() > 950


def test_special_tokens_and_padding_are_never_masked() -> None:
    made = batch([[2, 1, 3], [1]])
    for epoch in range(50):
        masked = mask_words(made._replace(epoch=epoch), 0.9, mask_id=4, vocabulary=1000)
        assert (masked.labels[made.words < 0] == IGNORED).all()
        assert torch.equal(masked.ids[made.words < 0], made.ids[made.words < 0])


def test_the_decoder_sees_half_of_each_text_from_every_place() -> None:
    """The statistics of the published mask: m or m + 1 hidden in a row, the first column open, the diagonal shut."""
    length = 128
    made = batch([[1, 2] * 42, [1] * 60])
    visible = visible_to_decoder(made, 0.5)
    assert visible.shape == (2, length, length)
    hidden = (~visible[0]).sum(dim=1)[1:]
    budget = round(length * 0.5)
    assert set(hidden.tolist()) <= {budget, budget + 1}
    assert not visible[0].diagonal().any()
    assert visible[0, 1:, 0].all() and not visible[0, 0, 0]
    assert visible[0, :-1, length - 1].all()  # the last special token is seen by all but itself
    assert len({tuple(row) for row in visible[0].tolist()}) == length  # each place draws its own
    real = 62
    assert not visible[1, :real, real:].any()  # padding is seen by none
    assert visible[1, real:, 0].all() and not visible[1, real:, 1:].any()  # and sees the first token only


def test_shared_patterns_are_as_few_as_asked() -> None:
    made = batch([[1] * 200])
    visible = visible_to_decoder(made, 0.5, patterns=8)[0]
    without_diagonal = visible | torch.eye(202, dtype=torch.bool)
    patterns = {tuple(np.flatnonzero(~row.numpy()).tolist()) for row in without_diagonal[1:201]}
    # A place whose own token the pattern hides shows it on the diagonal: each pattern has variants of one less.
    whole = {pattern for pattern in patterns if len(pattern) == 101}
    assert 1 < len(whole) <= 8


def test_a_text_of_one_word_still_has_something_to_see() -> None:
    visible = visible_to_decoder(batch([[1]]), 0.5)
    assert visible.any(dim=2).all()


def test_masks_do_not_depend_on_the_company() -> None:
    alone, together = batch([[2, 1, 1]], first_example=1), batch([[1, 1, 4, 2], [2, 1, 1]])
    length = alone.ids.shape[1]
    assert torch.equal(choose(alone, 0.5, 4, 0)[0], choose(together, 0.5, 4, 0)[1, :, :length])
    assert torch.equal(mask_words(alone, 0.5, 4, 1000).ids[0], mask_words(together, 0.5, 4, 1000).ids[1, :length])


def test_seed_epoch_and_example_each_change_the_masks() -> None:
    made = batch([[1] * 100])
    first = choose(made, 0.5, 1, 0)
    for other in (made._replace(seed=1), made._replace(epoch=1), made._replace(examples=made.examples + 1)):
        assert not torch.equal(first, choose(other, 0.5, 1, 0))
    assert torch.equal(first, choose(made, 0.5, 1, 0))


def test_draws_are_even_and_reproducible() -> None:
    drawn = uniform(spread(keys(0, 0, 0, torch.arange(100))[:, None], torch.arange(1000)))
    counts = np.histogram(drawn.numpy(), bins=10, range=(0, 1))[0]
    assert (abs(counts - 10_000) < 500).all()
    assert drawn.min() >= 0 and drawn.max() < 1
    neighbours = np.corrcoef(drawn[:, :-1].flatten(), drawn[:, 1:].flatten())[0, 1]
    assert abs(neighbours) < 0.02
    assert below(keys(1, 2, 3, torch.arange(1000)), 7).unique().tolist() == list(range(7))
    # Written down: another version of torch, or another device, must draw the same.
    assert keys(1, 2, 3, torch.tensor([4])).tolist() == [KEY]


KEY = 4181974824002594042

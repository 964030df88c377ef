"""Masks of text pairs and of decoders: alignment, rates, independence, and reproducibility."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import toys
from encloze.models.layers.masking import IGNORE_INDEX, MaskedTokens, TokenBatch, mask_whole_words, sample_words
from encloze.models.layers.token_pairs import split_pairs, swap_pairs
from encloze.objectives.base import Objective
from encloze.objectives.cotmae import CotMae
from encloze.objectives.cotmae_v2 import CotMaeV2
from encloze.objectives.dupmae import DupMae
from encloze.objectives.lexmae import LexMae, mask_additional_tokens
from encloze.objectives.mlm import Mlm
from encloze.objectives.retromae import RetroMae

MASK, VOCABULARY, RATES = 4, 1000, (0.3, 0.5)


def build_batch(word_sizes: list[list[int]], epoch: int = 0, examples: list[int] | None = None) -> TokenBatch:
    """Texts with words of the given numbers of tokens; ids count up from 10 + example, special ids are 1, 2, and 0."""
    lengths = torch.tensor([sum(sizes) + 2 for sizes in word_sizes])
    width, rows = int(lengths.max()), len(word_sizes)
    example_ids = torch.tensor(examples or range(rows))
    ids, word_ids = torch.zeros(rows, width, dtype=torch.int64), torch.full((rows, width), -1)
    for row, sizes in enumerate(word_sizes):
        length = sum(sizes)
        ids[row, 0], ids[row, length + 1] = 1, 2
        ids[row, 1 : length + 1] = torch.arange(length) + 10 + example_ids[row]
        word_ids[row, 1 : length + 1] = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    attention_mask = torch.arange(width) < lengths[:, None]
    return TokenBatch(ids, attention_mask, word_ids, example_ids, example_ids, 5, epoch)


PAIRS = [[1, 2, 1], [2, 3, 1, 1], [4, 1], [1, 1, 2, 3, 1, 2]]  # the last two are the partners of the first two


def rows_of(batch: TokenBatch) -> list[tuple[list[int], list[int], int]]:
    """Ids and word ids of each text without padding, and its example id."""
    lengths = batch.attention_mask.sum(dim=1).tolist()
    width = batch.ids.shape[1]
    assert batch.attention_mask.tolist() == [[position < length for position in range(width)] for length in lengths]
    return [
        (ids[:length].tolist(), word_ids[:length].tolist(), int(example))
        for ids, word_ids, example, length in zip(batch.ids, batch.word_ids, batch.example_ids, lengths, strict=True)
    ]


def test_split_pairs_gives_texts_and_partners_truncated_to_their_longest() -> None:
    batch = build_batch(PAIRS, epoch=3)
    texts, contexts = split_pairs(batch)
    assert rows_of(texts) == rows_of(batch)[:2] and rows_of(contexts) == rows_of(batch)[2:]
    assert texts.ids.shape == (2, 9) and contexts.ids.shape == (2, 12)
    assert (texts.seed, texts.epoch, contexts.seed, contexts.epoch) == (5, 3, 5, 3)
    for half, rows in ((texts, slice(2)), (contexts, slice(2, 4))):  # masks are those of the whole batch
        length = half.ids.shape[1]
        for is_decoder in (False, True):
            own, whole = (mask_whole_words(b, 0.4, MASK, VOCABULARY, decoder=is_decoder) for b in (half, batch))
            assert all(torch.equal(one, other[rows, :length]) for one, other in zip(own, whole, strict=True))


def test_swap_pairs_exchanges_texts_and_partners() -> None:
    batch = build_batch(PAIRS, epoch=3)
    swapped = swap_pairs(batch)
    assert rows_of(swapped) == rows_of(batch)[2:] + rows_of(batch)[:2]
    assert (swapped.seed, swapped.epoch) == (5, 3)
    assert all(torch.equal(one, other) for one, other in zip(swap_pairs(swapped)[:4], batch[:4], strict=True))
    # Masks belong to a text, not to its row in the batch.
    assert torch.equal(sample_words(swapped, 0.4, 2, 0), sample_words(batch, 0.4, 2, 0).roll(2, dims=0))


def test_split_words_makes_each_token_a_word() -> None:
    batch = build_batch([[4, 3, 5, 1, 6], [2, 2]])
    split = batch.split_words()
    for row, content in zip(split.word_ids, batch.word_ids >= 0, strict=True):
        assert torch.equal(row >= 0, content) and len(set(row[content].tolist())) == int(content.sum())
    assert all(torch.equal(one, other) for one, other in zip(split[:2], batch[:2], strict=True))
    partial_words = 0
    for epoch in range(40):
        selected = sample_words(split._replace(epoch=epoch), 0.3, 1, 0)[:, 0]
        assert selected.sum(dim=1).tolist() == [round(21 * 0.3), round(6 * 0.3)]  # single tokens always fit the budget
        word_ids = batch.word_ids[0, 1:20]
        counts = [(int(selected[0, 1:20][word_ids == word].sum()), int((word_ids == word).sum())) for word in range(5)]
        partial_words += any(0 < count < size for count, size in counts)
    assert partial_words > 30


def sample_masks(settings: Objective, batch: TokenBatch) -> list[MaskedTokens]:
    """The masked tokens that an objective samples: the encoder's, and the decoder's if there are any."""
    module = settings.build_module(toys.backbone(VOCABULARY), toys.OnlyMask(), "cls")  # type: ignore[arg-type]
    sampled = module.sample(batch)
    return [sampled.encoder, sampled.decoder] if hasattr(sampled, "decoder") else [sampled.encoder]


def additional_masks(batch: TokenBatch, rates: tuple[float, float] = RATES) -> tuple[MaskedTokens, MaskedTokens]:
    """Masked tokens of LexMAE's encoder and decoder."""
    encoder = mask_whole_words(batch.split_words(), rates[0], MASK, VOCABULARY)
    return encoder, mask_additional_tokens(batch, encoder, rates, MASK, VOCABULARY)


@pytest.mark.parametrize("rates", [(0.3, 0.5), (0.15, 0.9), (0.4, 0.4)])
def test_additional_tokens_raise_the_encoders_mask_rate_to_the_decoders(rates: tuple[float, float]) -> None:
    batch = build_batch([[1] * 398 for _ in range(60)])
    encoder, decoder = additional_masks(batch, rates)
    first, second = encoder.labels != IGNORE_INDEX, decoder.labels != IGNORE_INDEX
    assert (second | ~first).all()
    assert torch.equal(decoder.labels[second], batch.ids[second])
    assert torch.equal(decoder.ids[~second], batch.ids[~second])
    assert not second[batch.word_ids < 0].any()
    assert (first.sum(dim=1) == round(400 * rates[0])).all()
    remaining = (batch.word_ids >= 0) & ~first
    fraction = float((second & remaining).sum() / remaining.sum())
    expected = (rates[1] - rates[0]) / (1 - rates[0])
    assert abs(fraction - expected) <= 4 * (expected * (1 - expected) / int(remaining.sum())) ** 0.5
    assert float(second[batch.word_ids >= 0].float().mean()) == pytest.approx(rates[1], abs=0.02)
    if expected:  # tokens are selected independently, so the number varies between texts
        counts = (second & remaining).sum(dim=1).double()
        deviation = (expected * (1 - expected) * 398 * (1 - rates[0])) ** 0.5
        assert float(counts.std()) == pytest.approx(deviation, rel=0.3)


def replacement_shares(masked: MaskedTokens, batch: TokenBatch, where: Tensor) -> list[float]:
    """Fractions of mask tokens, of random tokens, and of original tokens."""
    ids, original = masked.ids[where], batch.ids[where]
    kinds = (ids == MASK, (ids != MASK) & (ids != original), ids == original)
    return [float(kind.float().mean()) for kind in kinds]


def test_replacements_of_a_decoder_are_independent_of_the_encoders() -> None:
    batch = build_batch([[1] * 398 for _ in range(100)])
    encoder, decoder = additional_masks(batch)
    first = encoder.labels != IGNORE_INDEX
    for where in (first, ~first & (decoder.labels != IGNORE_INDEX)):
        assert replacement_shares(decoder, batch, where) == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    is_original, is_mask = first & (encoder.ids == batch.ids), first & (encoder.ids == MASK)
    is_random = first & ~is_original & ~is_mask
    for where in (is_original, is_random, is_mask):
        assert replacement_shares(decoder, batch, where) == pytest.approx([0.8, 0.1, 0.1], abs=0.04)
    both_random = is_random & (decoder.ids != batch.ids) & (decoder.ids != MASK)
    assert both_random.sum() > 50
    assert (decoder.ids[both_random] == encoder.ids[both_random]).float().mean() < 0.1
    plain = mask_whole_words(batch, 0.5, MASK, VOCABULARY, decoder=True)  # as in CoT-MAE and basic decoding
    where = (plain.labels != IGNORE_INDEX) & is_original
    assert replacement_shares(plain, batch, where) == pytest.approx([0.8, 0.1, 0.1], abs=0.04)


@pytest.mark.parametrize("settings", [CotMae(), CotMaeV2(), RetroMae(decoding="basic")], ids=lambda s: s.name)
def test_decoder_masks_are_independent_of_encoder_masks(settings: Objective) -> None:
    batch = build_batch([[1] * 398 for _ in range(60)])
    encoder, decoder = (masked.labels != IGNORE_INDEX for masked in sample_masks(settings, batch))
    if isinstance(settings, (CotMae, CotMaeV2)):
        decoder = decoder.roll(30, dims=0)  # a decoder's row holds the partner of the encoder's text
    rate = float(decoder[batch.word_ids >= 0].float().mean())
    assert float(decoder[encoder].float().mean()) == pytest.approx(rate, abs=0.03)


def test_additional_tokens_depend_on_seed_epoch_and_example() -> None:
    batch = build_batch([[1] * 100, [1] * 100])
    encoder = mask_whole_words(batch, 0.3, MASK, VOCABULARY)
    changed = (batch._replace(seed=1), batch._replace(epoch=1), batch._replace(example_ids=batch.example_ids + 2))
    first, *others, repeated = (
        (mask_additional_tokens(each, encoder, RATES, MASK, VOCABULARY).labels != IGNORE_INDEX).tolist()
        for each in (batch, *changed, batch)
    )
    assert repeated == first and len({str(row) for masks in (first, *others) for row in masks}) == 8


@pytest.mark.parametrize("settings", [Mlm(), LexMae()], ids=lambda s: s.name)
def test_whole_word_masking_masks_words_or_tokens(settings: Mlm | LexMae) -> None:
    batch = build_batch([[2, 3, 4, 3, 2] * 5] * 4)
    for whole in (True, False):
        encoder, *_ = sample_masks(replace(settings, whole_word_masking=whole), batch)
        partial_words = 0
        for row, word in itertools.product(range(4), range(25)):
            selected = (encoder.labels != IGNORE_INDEX)[row][batch.word_ids[row] == word]
            partial_words += bool(selected.any() and not selected.all())
        assert (partial_words == 0) if whole else (partial_words > 20)


OBJECTIVES: list[Objective] = [
    CotMae(),
    CotMae(encode_contexts=False),
    CotMaeV2(),
    DupMae(),
    LexMae(),
    LexMae(whole_word_masking=True),
    Mlm(),
    Mlm(whole_word_masking=False),
]


@pytest.mark.parametrize("settings", OBJECTIVES, ids=lambda s: s.name)
def test_masks_change_with_epoch_and_example_and_are_reproducible(settings: Objective) -> None:
    sizes = [[1, 2] * 15] * 4
    first = sample_masks(settings, build_batch(sizes))
    repeated, later, others = (
        sample_masks(settings, batch)
        for batch in (build_batch(sizes), build_batch(sizes, epoch=1), build_batch(sizes, examples=[10, 11, 12, 13]))
    )
    for masked, same, *different in zip(first, repeated, later, others, strict=True):
        assert torch.equal(masked.labels, same.labels) and torch.equal(masked.ids, same.ids)
        selected = masked.labels != IGNORE_INDEX
        assert len({tuple(row) for row in selected.tolist()}) == len(selected)  # equal texts have different masks
        for other in different:
            assert (selected != (other.labels != IGNORE_INDEX)).any(dim=1).all()
    if len(first) == 2 and first[0].ids.shape == first[1].ids.shape:
        assert ((first[0].labels != IGNORE_INDEX) != (first[1].labels != IGNORE_INDEX)).any(dim=1).all()


@pytest.mark.parametrize("settings", OBJECTIVES, ids=lambda s: s.name)
def test_masks_of_a_pair_do_not_depend_on_the_rest_of_the_batch(settings: Objective) -> None:
    """Two pairs alone, and in another order among other pairs with longer texts."""
    alone = build_batch([PAIRS[0] * 3, PAIRS[1] * 2, PAIRS[2] * 3, PAIRS[3] * 2], examples=[3, 4, 103, 104])
    sizes = [[5] * 8, PAIRS[1] * 2, PAIRS[0] * 3, [1] * 9, PAIRS[3] * 2, PAIRS[2] * 3]
    together = build_batch(sizes, examples=[7, 4, 3, 107, 104, 103])
    rows = [2, 1, 5, 4]  # rows of the larger batch with the texts of the smaller one
    for one, other in zip(sample_masks(settings, alone), sample_masks(settings, together), strict=True):
        chosen = rows if len(one.ids) == 4 else rows[:2]
        for tensor, other_tensor in zip(one, other, strict=True):
            length = min(tensor.shape[1], other_tensor.shape[1])
            assert torch.equal(tensor[:, :length], other_tensor[chosen][:, :length])

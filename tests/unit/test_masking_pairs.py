"""Pairs of texts and holes beside holes: who stands where, how much is hidden, and that nothing else decides it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import toys
from encloze.models.layers.masking import IGNORED, Masked, TokenBatch, choose, mask_more, mask_words
from encloze.objectives.base import Objective
from encloze.objectives.cotmae import CotMae
from encloze.objectives.cotmae_v2 import CotMaeV2
from encloze.objectives.dupmae import DupMae
from encloze.objectives.lexmae import LexMae
from encloze.objectives.mlm import Mlm
from encloze.objectives.retromae import RetroMae

MASK, VOCABULARY, RATES = 4, 1000, (0.3, 0.5)


def batch(sizes: list[list[int]], epoch: int = 0, examples: list[int] | None = None) -> TokenBatch:
    """Texts given as the sizes of their words; ids count up from 10 + number, special ones are 1, 2 and 0 (padding)."""
    lengths = torch.tensor([sum(words) + 2 for words in sizes])
    width = int(lengths.max())
    numbers = torch.tensor(examples or range(len(sizes)))
    ids, words = torch.zeros(len(sizes), width, dtype=torch.int64), torch.full((len(sizes), width), -1)
    for row, of_text in enumerate(sizes):
        length = sum(of_text)
        ids[row, 0], ids[row, length + 1] = 1, 2
        ids[row, 1 : length + 1] = torch.arange(length) + 10 + numbers[row]
        words[row, 1 : length + 1] = torch.arange(len(of_text)).repeat_interleave(torch.tensor(of_text))
    return TokenBatch(ids, torch.arange(width) < lengths[:, None], words, numbers, numbers, 5, epoch)


PAIRS = [[1, 2, 1], [2, 3, 1, 1], [4, 1], [1, 1, 2, 3, 1, 2]]  # the second two are contexts of the first


def rows(of: TokenBatch) -> list[tuple[list[int], list[int], int]]:
    """Each text without padding, its words and its number."""
    lengths = of.attention.sum(dim=1).tolist()
    assert of.attention.tolist() == [[place < length for place in range(of.ids.shape[1])] for length in lengths]
    return [
        (ids[:length].tolist(), words[:length].tolist(), int(number))
        for ids, words, number, length in zip(of.ids, of.words, of.examples, lengths, strict=True)
    ]


def test_halves_are_the_texts_and_their_contexts_each_as_long_as_its_longest() -> None:
    made = batch(PAIRS, epoch=3)
    texts, contexts = made.halves()
    assert rows(texts) == rows(made)[:2] and rows(contexts) == rows(made)[2:]
    assert texts.ids.shape == (2, 9) and contexts.ids.shape == (2, 12)
    assert (texts.seed, texts.epoch, contexts.seed, contexts.epoch) == (5, 3, 5, 3)
    for half, part in ((texts, slice(2)), (contexts, slice(2, 4))):  # and have the holes that they had
        length = half.ids.shape[1]
        for is_decoder in (False, True):
            found, whole = (mask_words(of, 0.4, MASK, VOCABULARY, decoder=is_decoder) for of in (half, made))
            assert all(torch.equal(own, all_[part, :length]) for own, all_ in zip(found, whole, strict=True))


def test_swapped_is_each_text_in_its_partners_place() -> None:
    made = batch(PAIRS, epoch=3)
    swapped = made.swapped()
    assert rows(swapped) == rows(made)[2:] + rows(made)[:2]
    assert (swapped.seed, swapped.epoch) == (5, 3)
    back = swapped.swapped()
    assert all(torch.equal(one, other) for one, other in zip(back[:4], made[:4], strict=True))
    # Holes belong to a text, not to its place in the batch.
    found, own = (choose(of, 0.4, 2, 0) for of in (swapped, made))
    assert torch.equal(found, own.roll(2, dims=0))


def test_each_token_a_word_of_its_own() -> None:
    made = batch([[4, 3, 5, 1, 6], [2, 2]])
    alone = made.each_token_a_word()
    for row, real in zip(alone.words, made.words >= 0, strict=True):
        assert torch.equal(row >= 0, real) and len(set(row[real].tolist())) == int(real.sum())
    assert all(torch.equal(one, other) for one, other in zip(alone[:2], made[:2], strict=True))
    cut = 0
    for epoch in range(40):
        chosen = choose(alone._replace(epoch=epoch), 0.3, 1, 0)[:, 0]
        assert chosen.sum(dim=1).tolist() == [round(21 * 0.3), round(6 * 0.3)]  # no word is too long for what is left
        words = made.words[0][1:20]
        cut += any(0 < int(chosen[0, 1:20][words == word].sum()) < int((words == word).sum()) for word in range(5))
    assert cut > 30


def holes_of(settings: Objective, made: TokenBatch) -> list[Masked]:
    module = settings.module(toys.backbone(VOCABULARY), toys.OnlyMask(), "cls")  # type: ignore[arg-type]
    drawn = module.draw(made)
    return [drawn.encoder, drawn.decoder] if hasattr(drawn, "decoder") else [drawn.encoder]


def more(made: TokenBatch, rates: tuple[float, float] = RATES) -> tuple[Masked, Masked]:
    """An encoder's holes, and a decoder's."""
    first = mask_words(made.each_token_a_word(), rates[0], MASK, VOCABULARY)
    return first, mask_more(made, first, rates, MASK, VOCABULARY)


@pytest.mark.parametrize("rates", [(0.3, 0.5), (0.15, 0.9), (0.4, 0.4)])
def test_a_decoder_has_the_encoders_holes_and_as_many_more_as_asked(rates: tuple[float, float]) -> None:
    made = batch([[1] * 398 for _ in range(60)])
    encoder, decoder = more(made, rates)
    first, second = encoder.labels != IGNORED, decoder.labels != IGNORED
    assert (second | ~first).all()
    assert torch.equal(decoder.labels[second], made.ids[second])
    assert torch.equal(decoder.ids[~second], made.ids[~second])
    assert not second[made.words < 0].any()
    assert (first.sum(dim=1) == round(400 * rates[0])).all()
    left = (made.words >= 0) & ~first
    share = float((second & left).sum() / left.sum())
    wanted = (rates[1] - rates[0]) / (1 - rates[0])
    assert abs(share - wanted) <= 4 * (wanted * (1 - wanted) / int(left.sum())) ** 0.5
    assert float(second[made.words >= 0].float().mean()) == pytest.approx(rates[1], abs=0.02)
    if wanted:  # each token by itself, so the texts differ in number
        counts = (second & left).sum(dim=1).double()
        expected = (wanted * (1 - wanted) * 398 * (1 - rates[0])) ** 0.5
        assert float(counts.std()) == pytest.approx(expected, rel=0.3)


def outcomes(masked: Masked, made: TokenBatch, where: Tensor) -> list[float]:
    """The shares of mask tokens, of other tokens, and of tokens as they were."""
    ids, own = masked.ids[where], made.ids[where]
    kinds = (ids == MASK, (ids != MASK) & (ids != own), ids == own)
    return [float(kind.float().mean()) for kind in kinds]


def test_what_stands_in_the_holes_of_a_decoder_is_drawn_anew() -> None:
    made = batch([[1] * 398 for _ in range(100)])
    encoder, decoder = more(made)
    first = encoder.labels != IGNORED
    for where in (first, ~first & (decoder.labels != IGNORED)):
        assert outcomes(decoder, made, where) == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    kept, other = first & (encoder.ids == made.ids), first & (encoder.ids != made.ids) & (encoder.ids != MASK)
    for where in (kept, other, first & (encoder.ids == MASK)):  # whatever the encoder saw there
        assert outcomes(decoder, made, where) == pytest.approx([0.8, 0.1, 0.1], abs=0.04)
    both = other & (decoder.ids != made.ids) & (decoder.ids != MASK)
    assert both.sum() > 50 and (decoder.ids[both] == encoder.ids[both]).float().mean() < 0.1
    plain = mask_words(made, 0.5, MASK, VOCABULARY, decoder=True)
    where = (plain.labels != IGNORED) & first  # cotmae's and basic decoding's, too
    assert outcomes(plain, made, where & kept) == pytest.approx([0.8, 0.1, 0.1], abs=0.04)


@pytest.mark.parametrize("settings", [CotMae(), CotMaeV2(), RetroMae(decoding="basic")], ids=lambda s: s.name)
def test_the_holes_of_a_decoder_do_not_tell_of_the_encoders(settings: Objective) -> None:
    """Where a decoder has holes of its own, as many of them fall on the encoder's in that text as elsewhere."""
    made = batch([[1] * 398 for _ in range(60)])
    encoder, decoder = (masked.labels != IGNORED for masked in holes_of(settings, made))
    if isinstance(settings, (CotMae, CotMaeV2)):
        decoder = decoder.roll(30, dims=0)  # a text is rebuilt in its partner's row
    share = float(decoder[made.words >= 0].float().mean())
    assert float(decoder[encoder].float().mean()) == pytest.approx(share, abs=0.03)


def test_further_holes_hang_on_the_seed_the_epoch_and_the_example() -> None:
    made = batch([[1] * 100, [1] * 100])
    first = mask_words(made, 0.3, MASK, VOCABULARY)
    others = [made, made._replace(seed=1), made._replace(epoch=1), made._replace(examples=made.examples + 2), made]
    further = [(mask_more(other, first, RATES, MASK, VOCABULARY).labels != IGNORED).tolist() for other in others]
    own, *fresh, again = further
    assert again == own and len({str(row) for rows_ in (own, *fresh) for row in rows_}) == 8


@pytest.mark.parametrize("settings", [Mlm(), LexMae()], ids=lambda s: s.name)
def test_words_are_hidden_whole_or_token_by_token(settings: Mlm | LexMae) -> None:
    made = batch([[2, 3, 4, 3, 2] * 5] * 4)
    for whole in (True, False):
        encoder, *_ = holes_of(replace(settings, whole_words=whole), made)
        cut = 0
        for row, word in itertools.product(range(4), range(25)):
            hidden = (encoder.labels != IGNORED)[row][made.words[row] == word]
            cut += bool(hidden.any() and not hidden.all())
        assert (cut == 0) if whole else (cut > 20)


OBJECTIVES: list[Objective] = [
    CotMae(),
    CotMae(encode_contexts=False),
    CotMaeV2(),
    DupMae(),
    LexMae(),
    LexMae(whole_words=True),
    Mlm(),
    Mlm(whole_words=False),
]


@pytest.mark.parametrize("settings", OBJECTIVES, ids=lambda s: s.name)
def test_holes_are_fresh_at_each_epoch_and_for_each_example_and_the_same_when_asked_again(settings: Objective) -> None:
    sizes = [[1, 2] * 15] * 4
    first = holes_of(settings, batch(sizes))
    again, later, others = (
        holes_of(settings, made)
        for made in (batch(sizes), batch(sizes, epoch=1), batch(sizes, examples=[10, 11, 12, 13]))
    )
    for own, same, *fresh in zip(first, again, later, others, strict=True):
        assert torch.equal(own.labels, same.labels) and torch.equal(own.ids, same.ids)
        places = own.labels != IGNORED
        assert len({tuple(row) for row in places.tolist()}) == len(places)  # the same words, other holes
        for other in fresh:
            assert (places != (other.labels != IGNORED)).any(dim=1).all()
    if len(first) == 2 and first[0].ids.shape == first[1].ids.shape:
        assert ((first[0].labels != IGNORED) != (first[1].labels != IGNORED)).any(dim=1).all()


@pytest.mark.parametrize("settings", OBJECTIVES, ids=lambda s: s.name)
def test_the_holes_of_a_span_do_not_depend_on_the_company(settings: Objective) -> None:
    """Two pairs with others among them, in another order, beside longer texts: the same holes, filled the same."""
    few = batch([PAIRS[0] * 3, PAIRS[1] * 2, PAIRS[2] * 3, PAIRS[3] * 2], examples=[3, 4, 103, 104])
    others = [[5] * 8, PAIRS[1] * 2, PAIRS[0] * 3, [1] * 9, PAIRS[3] * 2, PAIRS[2] * 3]
    many = batch(others, examples=[7, 4, 3, 107, 104, 103])
    order = [2, 1, 5, 4]  # where the texts of few stand in many
    for own, all_ in zip(holes_of(settings, few), holes_of(settings, many), strict=True):
        wanted = order if len(own.ids) == 4 else order[:2]
        for mine, theirs in zip(own, all_, strict=True):
            shorter = min(mine.shape[1], theirs.shape[1])
            assert torch.equal(mine[:, :shorter], theirs[wanted][:, :shorter])

"""Whole-word masks, drawn on the device: which tokens the encoder sees changed, which a decoder does not see.

Shapes: batch, length (of the padded texts), rows (independent masks of one text), words (of the longest text).
``words`` (batch x length) numbers the word of each token from 0, -1 for special tokens and padding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from encloze.models.layers.randomness import below, keys, spread, uniform

IGNORED = -100
"""The label of a token that is not to be predicted."""

# Streams of randomness: draws for one end do not tell anything about those for another.
_ENCODER_WORDS, _ENCODER_CORRUPTION, _DECODER_WORDS, _DECODER_CORRUPTION, _PATTERN = range(5)


class TokenBatch(NamedTuple):
    """Texts as the training sees them."""

    ids: Tensor  # int64, batch x length
    attention: Tensor  # bool, batch x length
    words: Tensor  # int64, batch x length
    examples: Tensor  # int64, batch: the number of each text in the corpus
    sources: Tensor  # int64, batch: the number of what each text was taken from
    seed: int = 0
    epoch: int = 0

    def halves(self) -> tuple[TokenBatch, TokenBatch]:
        """The texts of a batch of pairs and their contexts, each cut to its own longest: a context follows half a
        batch after its text."""
        middle = len(self.ids) // 2
        return self._rows(slice(None, middle)), self._rows(slice(middle, None))

    def swapped(self) -> TokenBatch:
        """Each text's partner in its place, in a batch of pairs."""
        middle = len(self.ids) // 2
        ids, attention, words, examples, sources = (tensor.roll(middle, dims=0) for tensor in self[:5])
        return TokenBatch(ids, attention, words, examples, sources, self.seed, self.epoch)

    def own_places(self) -> Tensor:
        """Where the text's own tokens stand: bool, batch x length; all real places where it has only special ones."""
        own = self.words >= 0
        return own | (self.attention & ~own.any(dim=1, keepdim=True))

    def each_token_a_word(self) -> TokenBatch:
        """The same texts, to be masked token by token."""
        places = torch.arange(self.ids.shape[1], device=self.ids.device)
        return self._replace(words=torch.where(self.words >= 0, places, -1))

    def _rows(self, part: slice) -> TokenBatch:
        length = int(self.attention[part].sum(dim=1).max())
        ids, attention, words = (tensor[part, :length] for tensor in self[:3])
        return TokenBatch(ids, attention, words, self.examples[part], self.sources[part], self.seed, self.epoch)


class Masked(NamedTuple):
    """Texts with holes."""

    ids: Tensor  # int64, batch x length
    labels: Tensor  # int64, batch x length: the token that stood there, IGNORED where nothing was chosen


def mask_words(batch: TokenBatch, rate: float, mask_id: int, vocabulary: int, *, decoder: bool = False) -> Masked:
    """Choose whole words until ``rate`` of a text's tokens is reached; 80 % masked, 10 % random, 10 % as they were.

    As the released code of RetroMAE does it: the budget counts the special tokens, which are never chosen, and
    random tokens are drawn from the whole vocabulary.
    """
    chosen = choose(batch, rate, 1, _DECODER_WORDS if decoder else _ENCODER_WORDS)[:, 0]
    return _corrupted(batch, chosen, mask_id, vocabulary, _DECODER_CORRUPTION if decoder else _ENCODER_CORRUPTION)


def mask_more(batch: TokenBatch, masked: Masked, rates: tuple[float, float], mask_id: int, vocabulary: int) -> Masked:
    """For a decoder: what the encoder did not see at the first rate, and of the rest so much that it makes the second.

    As the released code of LexMAE does it: each further token by itself, and what stands in the holes is drawn anew.
    """
    first, second = rates
    places = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    draw = uniform(spread(keys(batch.seed, batch.epoch, _DECODER_WORDS, batch.examples)[:, None], places))
    more = (draw < (second - first) / (1 - first)) & (batch.words >= 0)
    return _corrupted(batch, (masked.labels != IGNORED) | more, mask_id, vocabulary, _DECODER_CORRUPTION)


def _corrupted(batch: TokenBatch, chosen: Tensor, mask_id: int, vocabulary: int, stream: int) -> Masked:
    places = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    place_keys = spread(keys(batch.seed, batch.epoch, stream, batch.examples)[:, None], places)
    draw = uniform(place_keys)
    random_ids = below(spread(place_keys, torch.zeros_like(places)), vocabulary)
    changed = torch.where(draw < 0.8, mask_id, torch.where(draw < 0.9, random_ids, batch.ids))
    return Masked(torch.where(chosen, changed, batch.ids), torch.where(chosen, batch.ids, IGNORED))


def visible_to_decoder(batch: TokenBatch, rate: float, patterns: int | None = None) -> Tensor:
    """Which tokens (last axis) each place of a RetroMAE decoder sees: bool, batch x length x length.

    Each place has a whole-word mask of its own, at ``rate``, and never sees itself. The first token stands for the
    embedding: every place but itself sees it. The last special token is seen by all but itself. Padding is seen by
    none; padded places see the first token, so that attention is defined. ``patterns`` draws so many masks and gives
    each place one of them, as the released code does (256, or 128 in FlagEmbedding).
    """
    length, device = batch.ids.shape[1], batch.ids.device
    places = torch.arange(length, device=device)
    hidden = choose(batch, rate, patterns or length, _DECODER_WORDS)
    if patterns:
        pick = below(spread(keys(batch.seed, batch.epoch, _PATTERN, batch.examples)[:, None], places), patterns)
        hidden = hidden.gather(1, pick[:, :, None].expand(-1, -1, length))
    real = batch.attention
    visible = ~hidden & real[:, None, :] & real[:, :, None] & ~torch.eye(length, dtype=torch.bool, device=device)
    visible[:, 1:, 0] = True
    visible[:, 0, 0] = ~real[:, 0]
    return visible


def choose(batch: TokenBatch, rate: float, rows: int, stream: int) -> Tensor:
    """``rows`` independent choices of whole words of each text, at ``rate`` of its tokens: bool, batch x rows x length.

    Words are taken in random order; one that would exceed the budget, max(1, round(length x rate)), is passed over.
    """
    words = batch.words
    budget = (batch.attention.sum(dim=1).double() * rate).round().clamp(min=1).long()  # halves to even, as Python
    count = max(1, int(words.max()) + 1)
    sizes = torch.zeros(len(words), count + 1, dtype=torch.int64, device=words.device)
    sizes = sizes.scatter_add(1, words + 1, torch.ones_like(words))[:, 1:]  # column 0 gathers what is no word
    row_keys = spread(
        keys(batch.seed, batch.epoch, stream, batch.examples)[:, None], torch.arange(rows, device=words.device)
    )
    order_keys = spread(row_keys[:, :, None], torch.arange(count, device=words.device))
    chosen = _within_budget(sizes, order_keys, budget)
    of_token = words.clamp(min=0)[:, None, :].expand(-1, rows, -1)
    return chosen.gather(2, of_token) & (words >= 0)[:, None, :]


def _within_budget(sizes: Tensor, order_keys: Tensor, budget: Tensor) -> Tensor:
    """Take words in the order of their keys while they fit: bool, batch x rows x words.

    The same as going word by word and passing over what does not fit, a stretch of fitting words at a time: once the
    next word is too long it stays so, because the budget only shrinks. As many rounds as there are word lengths, at
    most.
    """
    order = order_keys.argsort(dim=2)
    size = sizes[:, None, :].expand_as(order).gather(2, order)
    left = budget[:, None].expand(order.shape[:2])
    taken = torch.zeros_like(size, dtype=torch.bool)
    candidates = size > 0
    while True:
        candidates = candidates & (size <= left[:, :, None])
        if not bool(candidates.any()):
            return torch.zeros_like(taken).scatter(2, order, taken)
        fitting = candidates & ((size * candidates).cumsum(dim=2) <= left[:, :, None])
        taken = taken | fitting
        left = left - (size * fitting).sum(dim=2)
        candidates = candidates & ~fitting

"""Whole-word masking of token batches, and the attention masks of RetroMAE's enhanced decoding.

All random numbers are a pure function of (seed, epoch, stream, example, position); see ``randomness``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from encloze.models.layers.randomness import derive_keys, example_keys, random_integers, uniform

IGNORE_INDEX = -100
"""Label of a token that is not predicted, as in ``torch.nn.functional.cross_entropy``."""


# Streams of random numbers; numbers of different streams are independent.
ENCODER_SELECTION, ENCODER_CORRUPTION, DECODER_SELECTION, DECODER_CORRUPTION, MASK_ASSIGNMENT = range(5)


class TokenBatch(NamedTuple):
    """Tokenized texts of a pre-training batch."""

    ids: Tensor  # int64, batch x length
    attention_mask: Tensor  # bool, batch x length: False at padding
    word_ids: Tensor  # int64, batch x length: number of each token's word, -1 for special tokens and padding
    example_ids: Tensor  # int64, batch: number of each text in the corpus
    source_ids: Tensor  # int64, batch: number of the document that each text was taken from
    seed: int = 0
    epoch: int = 0

    def content_mask(self) -> Tensor:
        """Return a mask that is True for all tokens except special tokens and padding (bool, batch x length).

        For a text that has only special tokens, the mask is True for them.
        """
        content = self.word_ids >= 0
        return content | (self.attention_mask & ~content.any(dim=1, keepdim=True))

    def split_words(self) -> TokenBatch:
        """Return the batch with each token as a word of its own, so that masking selects tokens instead of words."""
        positions = torch.arange(self.ids.shape[1], device=self.ids.device)
        return self._replace(word_ids=torch.where(self.word_ids >= 0, positions, -1))


class MaskedTokens(NamedTuple):
    """Token ids after masking, and the labels to predict."""

    ids: Tensor  # int64, batch x length
    labels: Tensor  # int64, batch x length: original ids of the selected tokens, IGNORE_INDEX elsewhere


def mask_whole_words(
    batch: TokenBatch, rate: float, mask_id: int, vocab_size: int, *, decoder: bool = False
) -> MaskedTokens:
    """Select whole words; replace 80 % of their tokens by the mask token and 10 % by random tokens, and keep 10 %.

    As in RetroMAE's released code, ``rate`` is a fraction of all tokens including special tokens. Special tokens are
    never selected, and random tokens come from the whole vocabulary. If ``decoder`` is true, the random numbers are
    independent of those that mask the encoder's input.
    """
    streams = (DECODER_SELECTION, DECODER_CORRUPTION) if decoder else (ENCODER_SELECTION, ENCODER_CORRUPTION)
    selected = sample_words(batch, rate, 1, streams[0])[:, 0]
    return corrupt_tokens(batch, selected, mask_id, vocab_size, streams[1])


def corrupt_tokens(batch: TokenBatch, selected: Tensor, mask_id: int, vocab_size: int, stream: int) -> MaskedTokens:
    """Replace 80 % of the tokens at which ``selected`` is True by the mask token and 10 % by random tokens."""
    positions = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    keys = derive_keys(example_keys(batch.seed, batch.epoch, stream, batch.example_ids)[:, None], positions)
    number = uniform(keys)
    random_ids = random_integers(derive_keys(keys, torch.zeros_like(positions)), vocab_size)
    corrupted = torch.where(number < 0.8, mask_id, torch.where(number < 0.9, random_ids, batch.ids))
    return MaskedTokens(torch.where(selected, corrupted, batch.ids), torch.where(selected, batch.ids, IGNORE_INDEX))


def enhanced_decoding_mask(batch: TokenBatch, rate: float, num_masks: int | None = None) -> Tensor:
    """Sample the attention mask of RetroMAE's enhanced decoding (section 3.3): bool, batch x queries x keys.

    Each query position has its own mask, which hides random whole words, up to the fraction ``rate`` of the tokens. No
    position attends to itself. Key 0 is the sentence embedding, to which all other positions attend. No position
    attends to padding; queries at padding attend to key 0 only, so that softmax is defined. If ``num_masks`` is set,
    only that many masks are sampled per text, and each position gets one of them at random, as in the released code
    (256, or 128 in FlagEmbedding). By default each position has its own mask, as in the paper.
    """
    length, device = batch.ids.shape[1], batch.ids.device
    positions = torch.arange(length, device=device)
    masked = sample_words(batch, rate, num_masks or length, DECODER_SELECTION)
    if num_masks:
        keys = example_keys(batch.seed, batch.epoch, MASK_ASSIGNMENT, batch.example_ids)
        assigned = random_integers(derive_keys(keys[:, None], positions), num_masks)
        masked = masked.gather(1, assigned[:, :, None].expand(-1, -1, length))
    real = batch.attention_mask
    visible = ~masked & real[:, None, :] & real[:, :, None] & ~torch.eye(length, dtype=torch.bool, device=device)
    visible[:, 1:, 0] = True
    visible[:, 0, 0] = ~real[:, 0]
    return visible


def sample_words(batch: TokenBatch, rate: float, count: int, stream: int) -> Tensor:
    """Sample ``count`` independent selections of whole words per text: bool, batch x count x length.

    Words are selected in random order. A word with more tokens than the remaining budget is skipped. The budget is
    max(1, round(``rate`` x length)) tokens, where the length of the text includes special tokens.
    """
    word_ids = batch.word_ids
    budget = (batch.attention_mask.sum(dim=1).double() * rate).round().clamp(min=1).long()  # half to even, as Python
    num_words = max(1, int(word_ids.max()) + 1)
    sizes = torch.zeros(len(word_ids), num_words + 1, dtype=torch.int64, device=word_ids.device)
    sizes = sizes.scatter_add(1, word_ids + 1, torch.ones_like(word_ids))[:, 1:]  # column 0 counts special tokens
    text_keys = example_keys(batch.seed, batch.epoch, stream, batch.example_ids)[:, None]
    selection_keys = derive_keys(text_keys, torch.arange(count, device=word_ids.device))
    word_keys = derive_keys(selection_keys[:, :, None], torch.arange(num_words, device=word_ids.device))
    selected = _select_within_budget(sizes, word_keys, budget)
    return selected.gather(2, word_ids.clamp(min=0)[:, None, :].expand(-1, count, -1)) & (word_ids >= 0)[:, None, :]


def _select_within_budget(sizes: Tensor, word_keys: Tensor, budget: Tensor) -> Tensor:
    """Select words in the order of their random keys, and skip words that exceed the remaining budget of tokens.

    The result (bool, batch x masks of a text x words) is the same as if the words were processed one by one. For speed,
    each round selects all words before the next word that exceeds the remaining budget. A skipped word can never fit
    later, because the budget only shrinks, so the number of rounds is at most the number of different word lengths.
    """
    order = word_keys.argsort(dim=2)
    size = sizes[:, None, :].expand_as(order).gather(2, order)
    remaining = budget[:, None].expand(order.shape[:2])
    selected = torch.zeros_like(size, dtype=torch.bool)
    candidates = size > 0
    while True:
        candidates = candidates & (size <= remaining[:, :, None])
        if not bool(candidates.any()):
            return torch.zeros_like(selected).scatter(2, order, selected)
        fitting = candidates & ((size * candidates).cumsum(dim=2) <= remaining[:, :, None])
        selected = selected | fitting
        remaining = remaining - (size * fitting).sum(dim=2)
        candidates = candidates & ~fitting

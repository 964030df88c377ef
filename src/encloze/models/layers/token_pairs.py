"""Batches of text pairs: the first texts of all pairs are followed by the second texts in the same order."""

from __future__ import annotations

from encloze.models.layers.masking import TokenBatch


def split_pairs(batch: TokenBatch) -> tuple[TokenBatch, TokenBatch]:
    """Return the first texts and the second texts of the pairs as two batches, each padded to its longest text."""
    middle = len(batch.ids) // 2
    return _select_rows(batch, slice(None, middle)), _select_rows(batch, slice(middle, None))


def swap_pairs(batch: TokenBatch) -> TokenBatch:
    """Return the batch with the two texts of each pair exchanged."""
    middle = len(batch.ids) // 2
    ids, attention_mask, word_ids, example_ids, source_ids = (tensor.roll(middle, dims=0) for tensor in batch[:5])
    return TokenBatch(ids, attention_mask, word_ids, example_ids, source_ids, batch.seed, batch.epoch)


def _select_rows(batch: TokenBatch, rows: slice) -> TokenBatch:
    length = int(batch.attention_mask[rows].sum(dim=1).max())
    ids, attention_mask, word_ids = (tensor[rows, :length] for tensor in batch[:3])
    example_ids, source_ids = batch.example_ids[rows], batch.source_ids[rows]
    return TokenBatch(ids, attention_mask, word_ids, example_ids, source_ids, batch.seed, batch.epoch)

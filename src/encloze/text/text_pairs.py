"""Text pairs for cross-encoders: a query and a document in one sequence, joined as the tokenizer defines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import kept_tokens


@dataclass(frozen=True)
class PaddedPairs:
    """A batch of text pairs with special tokens, truncated and padded to the same length."""

    ids: np.ndarray
    """Token ids (int64, pairs x length)."""
    attention_mask: np.ndarray
    """Attention mask (bool, pairs x length): False for padding."""
    token_type_ids: np.ndarray
    """Token type ids, as the tokenizer defines them (int64, pairs x length); 0 for padding."""


def pad_pairs(queries: list[Encoded], documents: list[Encoded], tokenizer: Tokenizer, max_tokens: int) -> PaddedPairs:
    """Join each query with its document, truncate the pair and pad the batch.

    A pair that is too long is truncated as transformers does (``longest_first``): the longer text loses tokens until
    both have the same length, then both do.

    Args:
        queries: Tokenized queries.
        documents: Tokenized documents, one per query.
        tokenizer: Tokenizer of the texts.
        max_tokens: Maximum length of a pair, including special tokens.

    Raises:
        CheckpointError: The tokenizer does not define how two texts are joined.
    """
    template, pad_id = tokenizer.pair_template, tokenizer.special_id("pad")
    available = max_tokens - sum(len(special.ids) for special in template.special_tokens)
    before, between, after = template.special_tokens
    query_type, document_type = template.token_type_ids
    rows = []
    for query, document in zip(queries, documents, strict=True):
        lengths_of_pair = (len(query.ids), len(document.ids))
        kept = _truncated_lengths(*lengths_of_pair, available)
        query_ids, document_ids = (
            text.ids[kept_tokens(length, capacity, tokenizer)]
            for text, length, capacity in zip((query, document), lengths_of_pair, kept, strict=True)
        )
        ids = (before.ids, query_ids, between.ids, document_ids, after.ids)
        token_types = (
            before.token_type_ids,
            [query_type] * len(query_ids),
            between.token_type_ids,
            [document_type] * len(document_ids),
            after.token_type_ids,
        )
        rows.append((np.concatenate(ids), np.concatenate(token_types)))
    lengths = np.array([len(row_ids) for row_ids, _ in rows])
    batch_length = int(lengths.max(initial=0))
    padded_ids = np.full((len(rows), batch_length), pad_id, np.int64)
    padded_types = np.zeros((len(rows), batch_length), np.int64)
    for row, (row_ids, row_types) in enumerate(rows):
        padded_ids[row, : len(row_ids)], padded_types[row, : len(row_ids)] = row_ids, row_types
    return PaddedPairs(padded_ids, np.arange(batch_length) < lengths[:, None], padded_types)


def _truncated_lengths(first: int, second: int, available: int) -> tuple[int, int]:
    """Return the lengths to which two texts of the given lengths are truncated.

    If both are longer than half of the available tokens, and their number is odd, the longer text gets one more.
    """
    if first + second <= available:
        return first, second
    shorter = min(first, second, available // 2)
    return (shorter, available - shorter) if first <= second else (available - shorter, shorter)

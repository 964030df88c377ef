"""Scoring of any number of text pairs in windows of a few thousand, sorted by length within each window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from encloze import progress
from encloze.data.text_arguments import text_pairs
from encloze.text.encoding import WINDOW
from encloze.text.text_pairs import PaddedPairs, pad_pairs
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import batch_by_length

_MAX_SPECIAL_TOKENS = 4  # around and between the texts of a pair


def score_pairs(
    pairs: Sequence[tuple[str, str]],
    tokenizer: Tokenizer,
    max_tokens: int,
    score_batch: Callable[[PaddedPairs], np.ndarray],
    *,
    batch_tokens: int,
    processor: str,
) -> np.ndarray:
    """Compute the score of each pair of a query and a document.

    Args:
        pairs: Pairs of a query and a document.
        tokenizer: The tokenizer.
        max_tokens: The length to which a query and a document together are truncated.
        score_batch: Function that returns the scores of a batch of pairs of similar length (float32, one per pair).
        batch_tokens: Maximum number of tokens of a batch, including padding.
        processor: Where the model computes, for the title of the progress bar, such as ``on cuda``.

    Returns:
        float32, one score for each pair.

    Raises:
        RecipeError: ``pairs`` is not a list of pairs of strings.
    """
    pairs = text_pairs(pairs, "score", "pairs")
    scores = np.empty(len(pairs), np.float32)
    with progress.task(f"Scoring {processor}", len(pairs), "pairs") as bar:
        for start in range(0, len(pairs), WINDOW):
            window = pairs[start : start + WINDOW]
            queries, documents = (tokenizer.encode([pair[side] for pair in window]) for side in (0, 1))
            lengths = np.array([len(q.ids) + len(d.ids) for q, d in zip(queries, documents, strict=True)])
            lengths = np.minimum(lengths + _MAX_SPECIAL_TOKENS, max_tokens)
            for rows in batch_by_length(lengths, batch_tokens):
                padded = pad_pairs(
                    [queries[row] for row in rows], [documents[row] for row in rows], tokenizer, max_tokens
                )
                scores[start + rows] = score_batch(padded)
                bar.advance(len(rows))
    return scores

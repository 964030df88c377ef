"""Bag-of-words targets (the tokens that a text contains), and the loss of predicting them."""

from __future__ import annotations

import torch
from torch import Tensor

from encloze.models.layers.masking import TokenBatch


def multi_hot(batch: TokenBatch, vocab_size: int) -> Tensor:
    """Return a mask (bool, batch x vocabulary): True for each token that a text contains, except special tokens.

    Args:
        batch: Tokenized texts.
        vocab_size: Number of token ids.
    """
    tokens = torch.zeros(len(batch.ids), vocab_size + 1, dtype=torch.bool, device=batch.ids.device)
    # Special tokens and padding set an additional last column, which is removed.
    tokens.scatter_(1, torch.where(batch.word_ids >= 0, batch.ids, vocab_size), True)
    return tokens[:, :vocab_size]


def bag_of_words_loss(logits: Tensor, tokens: Tensor, token_weights: Tensor) -> Tensor:
    """Compute the weighted cross-entropy of the tokens that each text contains, summed over texts.

    Args:
        logits: batch x vocabulary.
        tokens: bool, batch x vocabulary: tokens that each text contains.
        token_weights: One number per text, by which the loss of each token of the text is multiplied.

    Returns:
        Scalar, summed over texts. The loss of a text is its token weight times the sum of -log softmax(logits)[token]
        over its tokens.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    negative_log_likelihood = logits.logsumexp(dim=1, keepdim=True) - logits
    return ((negative_log_likelihood * tokens).sum(dim=1) * token_weights).sum()

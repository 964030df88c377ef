"""Contrastive loss of text pairs with in-batch negatives, used in pre-training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def in_batch_contrastive_loss(
    pairs: Tensor, source_ids: Tensor, temperature: float, *, normalize: bool
) -> tuple[Tensor, Tensor]:
    """Compute the InfoNCE loss of text pairs: each text must identify the other text of its pair in the batch.

    The candidates of a text are its positive (the other text of its pair) and all texts of other source documents.
    Other texts of the same document are excluded as false negatives: they may be identical to the text, or as similar
    to it as its positive.

    Args:
        pairs: Embeddings, pairs x 2 x dim.
        source_ids: Id of the source document of each pair (int64, one per pair).
        temperature: Divisor of the similarities.
        normalize: Whether similarities are cosines instead of dot products.

    Returns:
        Loss summed over the 2 x pairs texts, and the number of texts whose positive has the highest similarity.
    """
    texts = pairs.transpose(0, 1).flatten(0, 1)
    texts = texts.to(torch.promote_types(texts.dtype, torch.float32))
    if normalize:
        texts = F.normalize(texts, dim=1)
    partner = torch.arange(len(texts), device=texts.device).roll(len(source_ids))
    sources = source_ids.repeat(2)
    false_negative_mask = (sources[:, None] == sources).scatter(1, partner[:, None], False)
    with torch.autocast(texts.device.type, enabled=False):  # bfloat16 has 8 significant bits, too few for cosines
        scores = (texts @ texts.T / temperature).masked_fill(false_negative_mask, float("-inf"))
    return F.cross_entropy(scores, partner, reduction="sum"), (scores.argmax(dim=1) == partner).sum()

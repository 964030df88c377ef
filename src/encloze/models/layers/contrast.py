"""Contrast: each text of a pair should find its partner among all the texts of a batch.

Shapes: pairs, width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(pairs: Tensor, sources: Tensor, temperature: float, *, normalise: bool) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy of 2 x pairs texts that each seek their partner, and how many find it.

    ``pairs`` holds embeddings, pairs x 2 x width, ``sources`` (int64, pairs) where each two were taken from. A text is
    compared with its partner and with every text of another source, by dot product or cosine: other texts of the same
    source may be the very same, or as near to it as the partner, so they are no wrong answers.
    """
    texts = pairs.transpose(0, 1).flatten(0, 1)
    texts = texts.to(torch.promote_types(texts.dtype, torch.float32))
    if normalise:
        texts = F.normalize(texts, dim=1)
    partner = torch.arange(len(texts), device=texts.device).roll(len(sources))
    sources = sources.repeat(2)
    left_out = (sources[:, None] == sources).scatter(1, partner[:, None], False)
    with torch.autocast(texts.device.type, enabled=False):  # cosines in bfloat16 have two digits and a half
        scores = (texts @ texts.T / temperature).masked_fill(left_out, float("-inf"))
    return F.cross_entropy(scores, partner, reduction="sum"), (scores.argmax(dim=1) == partner).sum()

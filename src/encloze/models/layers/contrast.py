"""Contrast: each text of a pair should find its partner among all the texts of a batch.

Shapes: pairs, width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(pairs: Tensor, temperature: float, *, normalise: bool) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy of 2 x pairs texts that each seek their partner, and how many find it.

    pairs is pairs x 2 x width. A text is compared with every other of the batch, by dot product or cosine.
    """
    texts = pairs.transpose(0, 1).flatten(0, 1).float()
    if normalise:
        texts = F.normalize(texts, dim=1)
    scores = (texts @ texts.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(len(texts), device=texts.device).roll(len(pairs))
    return F.cross_entropy(scores, partner, reduction="sum"), (scores.argmax(dim=1) == partner).sum()

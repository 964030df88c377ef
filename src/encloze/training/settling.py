"""After training, a last step for term weights: texts get as many as was asked for, by one number off all logits.

Hundreds of a text's logits lie close to 0. Which of them are above it moves a number of active terms by a third while
the learning rate falls, and no price on weights has time to answer; a shift of a few hundredths does.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import brentq

from encloze import progress
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Head, Side, Texts
from encloze.models.heads.sparse import Sparse
from encloze.models.precision import autocast
from encloze.training.retrieval import RetrievalBatches, RetrievalModule

_EXAMPLES, _BATCH = 256, 16
_FURTHEST = 2.0  # how far a shift goes


def settle(module: RetrievalModule, batches: RetrievalBatches) -> None:
    """Shift logits until texts of the training data have as many weights above 0 as losses ask for."""
    wanted = {wish.side: wish.terms for loss in module.losses if (wish := loss.wanted)}
    encoder = module.encoder.eval()
    if not wanted or not any(isinstance(head, Sparse) for head in encoder.card.heads):
        return
    count = min(_EXAMPLES, len(batches.queries))
    numbers = np.linspace(0, len(batches.queries) - 1, count).astype(np.int64)
    place = next(encoder.parameters()).device
    read = [batches(numbers[at : at + _BATCH], 0, place) for at in range(0, count, _BATCH)]
    for name, terms in wanted.items():
        side: Side = "query" if name == "queries" else "document"
        found = _shifted(encoder, side, [getattr(batch, name) for batch in read], terms)
        progress.note(f"Weights above 0 of {name}: {found:.0f} on average, {terms} wanted")


def _shifted(encoder: BiEncoder, side: Side, texts: list[Texts], wanted: int) -> float:
    """Set the shift of one side, and return how many weights above 0 its texts have then."""
    card, active = encoder.card, 0.0

    def off(shift: float) -> float:
        nonlocal active
        encoder.card = replace(card, heads=tuple(_with_shift(head, side, shift) for head in card.heads))
        active = _active(encoder, side, texts)
        return math.log(max(active, 0.5) / wanted)

    # Where no shift leads there, as with queries that are bags of words, the logits stay as they are.
    reached = off(-_FURTHEST) > 0 > off(_FURTHEST)
    off(float(brentq(off, -_FURTHEST, _FURTHEST, xtol=1e-4, rtol=1e-3, disp=False)) if reached else 0.0)
    return active


def _with_shift(head: Head, side: Side, shift: float) -> Head:
    if not isinstance(head, Sparse):
        return head
    return replace(head, query_shift=shift) if side == "query" else replace(head, document_shift=shift)


@torch.no_grad()
def _active(encoder: BiEncoder, side: Side, texts: list[Texts]) -> float:
    """How many weights above 0 a text has on average."""
    with autocast(encoder.precision, texts[0].ids.device):
        return torch.cat([(encoder(batch, side).sparse > 0).sum(dim=1) for batch in texts]).float().mean().item()

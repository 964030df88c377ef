"""After training, a last step for term weights: texts get as many as was asked for, by one number off all logits.

Hundreds of a text's logits lie close to 0. Which of them are above it moves a number of active terms by a third while
the learning rate falls, and no price on weights has time to answer; a shift of a few hundredths does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from encloze import progress
from encloze.losses.base import Loss
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Head, Read, Side, Texts
from encloze.models.heads.sparse import Sparse
from encloze.models.precision import autocast
from encloze.training.retrieval import RetrievalBatches, RetrievalModule

_EXAMPLES, _BATCH = 256, 16
_LOWEST = -2.0  # logits below this are not raised above 0


def check_prices(losses: Sequence[Loss], heads: Sequence[Head]) -> None:
    """Raise ValueError where losses put a price on term weights that cannot answer, or ask for a number in vain."""
    head = next((head for head in heads if head.view == "sparse"), None)
    if head is None:
        return
    for loss in losses:
        if loss.priced == "queries" and not head.reads_hidden("query"):
            raise ValueError(
                f"{loss.name} puts a price on the term weights of queries, which are a bag of words: each weighs 1 and "
                f"learns nothing. Leave {loss.name} of queries out, or let queries be lexical or expansion"
            )
        if loss.wanted and not isinstance(head, Sparse):
            raise ValueError(
                f"active_terms is reached by a shift that the head sparse has, and {head.name} has none: leave it out, "
                "and set query_top_k or document_top_k of the head"
            )


def settle(module: RetrievalModule, batches: RetrievalBatches) -> None:
    """Shift logits until texts of the training data have as many weights above 0 as losses ask for."""
    wanted = {wish.side: wish.terms for loss in module.losses if (wish := loss.wanted)}
    encoder = module.encoder.eval()
    head = next((head for head in encoder.card.heads if isinstance(head, Sparse)), None)
    if not wanted or head is None:
        return
    count = min(_EXAMPLES, len(batches.queries))
    numbers = np.linspace(0, len(batches.queries) - 1, count).astype(np.int64)
    place = next(encoder.parameters()).device
    read = [batches(numbers[at : at + _BATCH], 0, place) for at in range(0, count, _BATCH)]
    for name, terms in wanted.items():
        side: Side = "query" if name == "queries" else "document"
        texts = [getattr(batch, name) for batch in read]
        shift = _shift(encoder, head, side, texts, terms) if head.reads_hidden(side) else None
        if shift is None:
            progress.note(f"No shift of the logits of {name} leads to {terms} words: they stay as they are")
            continue
        settled = replace(head, query_shift=shift) if side == "query" else replace(head, document_shift=shift)
        encoder.card = replace(encoder.card, heads=tuple(settled if h is head else h for h in encoder.card.heads))
        head = settled
        progress.note(f"Logits of {name} are shifted by {shift:+.3f}, which leaves {terms} words of a text")


@torch.no_grad()
def _shift(encoder: BiEncoder, head: Sparse, side: Side, texts: list[Texts], wanted: int) -> float | None:
    """What lies between the highest logits that are to count, over all texts, and the others; None: there are too few.

    A weight is above 0 where the highest logit over the places is, whether it is that or a sum.
    """
    count, backbone = wanted * sum(len(batch.ids) for batch in texts), encoder.backbone
    probe = replace(head, pooling="max", query_shift=_LOWEST, document_shift=_LOWEST)
    highest = []
    with autocast(encoder.precision, texts[0].ids.device):
        for batch in texts:
            hidden = backbone.encode(batch.ids, batch.attention)
            weights = probe.represent(Read(batch, hidden), side, backbone, None)
            above = weights[weights > 0]
            highest.append(above.topk(min(count + 1, len(above))).values)
    ordered = torch.cat(highest).sort(descending=True).values.double().expm1() + _LOWEST
    return float(ordered[count - 1 : count + 1].mean()) if len(ordered) > count else None

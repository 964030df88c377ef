"""Calibration of the logit bias of a sparse head after training, so that texts have the target number of active terms.

A term is active in a text if its logit is positive. Because hundreds of logits of a text are close to 0, the number of
active terms changes by a third while the learning rate decays, and too few steps remain to correct this by the
regularization weight. A bias of a few hundredths, added to all logits, is enough to reach the target number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from encloze import progress
from encloze.losses.base import Loss
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Head, HeadInput, Side, TextBatch
from encloze.models.heads.sparse import Sparse
from encloze.models.precision import autocast
from encloze.training.retrieval import RetrievalModule
from encloze.training.retrieval_batches import RetrievalBatches

_MAX_EXAMPLES, _BATCH_SIZE = 256, 16
_MIN_LOGIT = -2.0  # lower logits are never raised above 0


def check_regularizers(losses: Sequence[Loss], heads: Sequence[Head]) -> None:
    """Check that the losses that regularize term weights are compatible with the sparse head of the model, if any.

    Args:
        losses: The losses of the fine-tuning.
        heads: The heads of the fine-tuned model.

    Raises:
        ValueError: A loss regularizes term weights of queries although queries are encoded as bags of words, or a loss
            has ``target_active_dims`` although the head has no logit bias.
    """
    head = next((head for head in heads if head.view == "sparse"), None)
    if head is None:
        return
    for loss in losses:
        if loss.regularized_side == "queries" and not head.needs_hidden_states("query"):
            raise ValueError(
                f"{loss.name} regularizes the term weights of queries, but these weights are not trained, because "
                f"queries are encoded as a bag of words. Remove {loss.name} for queries, or set query_encoding of the "
                "head to term_weighting or expansion"
            )
        if loss.sparsity_target and not isinstance(head, Sparse):
            raise ValueError(
                f"target_active_dims requires the head sparse, which has a logit bias; the head {head.name} has none. "
                f"Remove target_active_dims, and set query_top_k or document_top_k of {head.name}"
            )


def calibrate_logit_bias(module: RetrievalModule, batches: RetrievalBatches) -> None:
    """Set the logit bias of the sparse head so that training texts have the target number of active terms.

    Args:
        module: The fine-tuned module; the configuration of its encoder is changed in place.
        batches: Batches of the training examples; up to 256 examples are used.
    """
    targets = {target.side: target.active_dims for loss in module.losses if (target := loss.sparsity_target)}
    encoder = module.encoder.eval()
    head = next((head for head in encoder.config.heads if isinstance(head, Sparse)), None)
    if not targets or head is None:
        return
    num_examples = min(_MAX_EXAMPLES, len(batches.queries))
    indices = np.linspace(0, len(batches.queries) - 1, num_examples).astype(np.int64)
    device = next(encoder.parameters()).device
    samples = [
        batches(indices[start : start + _BATCH_SIZE], 0, device) for start in range(0, num_examples, _BATCH_SIZE)
    ]
    for name, count in targets.items():
        side: Side = "query" if name == "queries" else "document"
        texts = [part for batch in samples for part in ([batch.queries] if side == "query" else batch.documents)]
        threshold = _threshold(encoder, head, side, texts, count) if head.needs_hidden_states(side) else None
        if threshold is None:
            progress.note(
                f"The logit bias of {name} is unchanged: too few terms have a logit near 0 to reach {count} active "
                "terms per text. Set a lower target_active_dims"
            )
            continue
        if side == "query":
            calibrated = replace(head, query_logit_bias=-threshold)
        else:
            calibrated = replace(head, document_logit_bias=-threshold)
        heads = tuple(calibrated if other is head else other for other in encoder.config.heads)
        encoder.config = replace(encoder.config, heads=heads)
        head = calibrated
        progress.note(f"The logit bias of {name} is {-threshold:+.3f}, which gives {count} active terms per text")


@torch.no_grad()
def _threshold(encoder: BiEncoder, head: Sparse, side: Side, texts: list[TextBatch], target: int) -> float | None:
    """Return the threshold that, on average over the texts, the logits of ``target`` terms of a text exceed.

    The logit of a term in a text is the maximum over the positions, whether the head uses max or sum pooling. Returns
    None if the threshold would be below ``_MIN_LOGIT``.
    """
    count, backbone = target * sum(len(batch.ids) for batch in texts), encoder.backbone
    shifted_head = replace(head, pooling="max", query_logit_bias=-_MIN_LOGIT, document_logit_bias=-_MIN_LOGIT)
    highest = []
    with autocast(encoder.precision, texts[0].ids.device):
        for batch in texts:
            hidden = backbone.encode(batch.ids, batch.attention_mask)
            weights = shifted_head.represent(HeadInput(batch, hidden), side, backbone, None)
            positive = weights[weights > 0]
            highest.append(positive.topk(min(count + 1, len(positive))).values)
    # weights are log(1 + logit - minimum); undo this
    logits = torch.cat(highest).sort(descending=True).values.double().expm1() + _MIN_LOGIT
    return float(logits[count - 1 : count + 1].mean()) if len(logits) > count else None

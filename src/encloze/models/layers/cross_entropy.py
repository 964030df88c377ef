"""Cross-entropy over a large vocabulary, with the logits of only a few rows in memory at a time.

``torch.nn.functional.cross_entropy`` needs the logits of all rows (one per token to predict) at once: 4 GB in float32
for 32,768 rows and a vocabulary of 30,522. Here loss and gradients are computed together, for one chunk of rows at a
time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from encloze.models.layers.masking import IGNORE_INDEX

CHUNK_ROWS = 256
"""Default number of rows whose logits are in memory at a time: 31 MB in float32 for a vocabulary of 30,522."""


def select_labeled(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Select the hidden states of the labeled tokens.

    Args:
        hidden: batch x length x hidden size.
        labels: int64, batch x length; IGNORE_INDEX where nothing is predicted.

    Returns:
        Hidden states (rows x hidden size) and labels (rows) of the labeled tokens; one row per token.
    """
    rows = labels.flatten().ne(IGNORE_INDEX).nonzero().squeeze(1)
    return hidden.flatten(0, 1)[rows], labels.flatten()[rows]


def chunked_cross_entropy(
    rows: Tensor, labels: Tensor, head: nn.Module, chunk_rows: int = CHUNK_ROWS
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy between a head's logits and the labels, summed over rows.

    Gradients flow to the rows and to the head's parameters. They are computed in the forward pass, so the loss cannot
    be differentiated twice.

    Args:
        rows: Hidden states, rows x hidden size.
        labels: Token id to predict for each row (int64).
        head: Module that maps hidden states to logits.
        chunk_rows: Number of rows whose logits are in memory at a time.

    Returns:
        Sum of -log softmax(head(row))[label], and the number of rows whose highest logit is the label's.
    """
    parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
    with_gradients = torch.is_grad_enabled()
    loss, correct = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        rows, labels, head, chunk_rows, with_gradients, *parameters
    )
    return loss, correct


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        labels: Tensor,
        head: Callable[[Tensor], Tensor],
        chunk_rows: int,
        with_gradients: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gradients = [torch.zeros_like(tensor) for tensor in (rows, *parameters)] if with_gradients else []
        total = torch.zeros((), device=rows.device, dtype=torch.promote_types(rows.dtype, torch.float32))
        correct = torch.zeros((), device=rows.device, dtype=torch.int64)
        for start in range(0, len(rows), chunk_rows):
            part = slice(start, start + chunk_rows)
            chunk = rows[part].detach().requires_grad_(with_gradients)
            with torch.set_grad_enabled(with_gradients):
                logits = head(chunk)
            loss, chunk_correct, logit_gradients = _softmax_loss(logits.detach().to(total.dtype), labels[part])
            if with_gradients:
                chunk_gradients = torch.autograd.grad(logits, [chunk, *parameters], logit_gradients.to(logits.dtype))
                gradients[0][part] = chunk_gradients[0]
                for gradient, chunk_gradient in zip(gradients[1:], chunk_gradients[1:], strict=True):
                    gradient += chunk_gradient
            total += loss
            correct += chunk_correct
        ctx.gradients = gradients
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, *parameters = (gradient * grad_outputs[0].to(gradient.dtype) for gradient in ctx.gradients)
        return (rows, None, None, None, None, *parameters)


def _softmax_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the summed cross-entropy, the number of rows whose highest logit is the label's, and the logits' gradient.

    On CPUs, memory traffic limits the speed of this step. softmax reads and writes each row once, while it is in the
    cache, and the logarithm of the sum of exponentials follows from the highest logit and its probability.
    """
    highest, label_logits = logits.amax(dim=1, keepdim=True), logits.gather(1, labels[:, None])
    reached = (label_logits == highest).flatten().nonzero().squeeze(1)  # with argmax in all rows, this takes longer
    correct = (logits[reached].argmax(dim=1) == labels[reached]).sum()
    probabilities = logits.softmax(dim=1)
    loss = (highest - probabilities.amax(dim=1, keepdim=True).log() - label_logits).sum()
    return loss, correct, probabilities.scatter_add_(1, labels[:, None], torch.full_like(label_logits, -1))

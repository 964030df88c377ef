"""Cross-entropy over a large vocabulary, for labelled rows only, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from encloze.models.layers.masking import IGNORED

_ROWS = 256  # logits held at once, in rows: 31 MB for 30,522 tokens


def labelled(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of hidden (batch x length x width) that have a label, and those labels: rows x width, rows."""
    rows = labels.flatten().ne(IGNORED).nonzero().squeeze(1)
    return hidden.flatten(0, 1)[rows], labels.flatten()[rows]


def summed_cross_entropy(rows: Tensor, labels: Tensor, head: nn.Module) -> tuple[Tensor, Tensor]:
    """The sum of -log softmax(head(row))[label] over rows (rows x width), and how many rows are guessed right.

    Gradients are worked out on the way forth, chunk by chunk, so that neither the logits of all rows nor a second
    pass through the head is ever needed. The sum has gradients for the rows and the head's parameters; it cannot be
    differentiated twice.
    """
    parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
    wanted = torch.is_grad_enabled()
    total, right = _ChunkedCrossEntropy.apply(rows, labels, head, wanted, *parameters)  # type: ignore[no-untyped-call]
    return total, right


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor], wanted: bool, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        gradients: list[Tensor] = [torch.zeros_like(tensor) for tensor in (rows, *parameters)] if wanted else []
        total = torch.zeros((), device=rows.device, dtype=torch.promote_types(rows.dtype, torch.float32))
        right = torch.zeros((), device=rows.device, dtype=torch.int64)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            chunk = rows[part].detach().requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                logits = head(chunk)
            losses, guesses_right, slope = _softmax_loss(logits.detach().to(total.dtype), labels[part], wanted)
            if wanted:
                found = torch.autograd.grad(logits, [chunk, *parameters], slope.to(logits.dtype))
                gradients[0][part] = found[0]
                for gradient, more in zip(gradients[1:], found[1:], strict=True):
                    gradient += more
            total += losses
            right += guesses_right
        ctx.gradients = gradients
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, *parameters = (gradient * outer[0].to(gradient.dtype) for gradient in ctx.gradients)
        return (rows, None, None, None, *parameters)


def _softmax_loss(logits: Tensor, labels: Tensor, wanted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The summed cross-entropy, the right guesses, and (where wanted) the loss's slope over the logits.

    The logits may be overwritten: one buffer serves all the way, since on a processor this is bound by memory.
    """
    highest, best = logits.max(dim=1, keepdim=True)
    own = logits.gather(1, labels[:, None])
    right = (best == labels[:, None]).sum()
    powers = (logits.sub_(highest) if wanted else logits - highest).exp_()
    sums = powers.sum(dim=1, keepdim=True)
    losses = (sums.log() + highest - own).sum()
    if wanted:
        powers.div_(sums).scatter_add_(1, labels[:, None], torch.full_like(own, -1))
    return losses, right, powers

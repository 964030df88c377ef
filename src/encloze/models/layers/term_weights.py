"""What a text says about each token of the vocabulary: the highest logit over its places, never held place by place.

Shapes: batch, length, width, vocabulary.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.backbones.base import VocabularyHead

Activation = Literal["log1p_relu", "relu", "raw"]


def highest_logits(hidden: Tensor, places: Tensor, head: VocabularyHead, shift: float = 0.0) -> Tensor:
    """The highest logit of each token over the given places of each text: batch x vocabulary, float32.

    hidden is batch x length x width, places bool, batch x length, with one at least in each row. One text's logits
    are held at a time; on the way back the gradient goes to the place that had the highest. ``shift`` is taken off all
    logits.
    """
    made: Tensor = _Highest.apply(head.transform(hidden), places, head.decoder.weight, _bias(head, shift))  # type: ignore[no-untyped-call]
    return made


def activated(logits: Tensor, activation: Activation) -> Tensor:
    """Logits as weights: log(1 + max(0, x)) as SPLADE has it, max(0, x), or as they are."""
    if activation == "raw":
        return logits
    positive = logits.relu()
    return positive.log1p() if activation == "log1p_relu" else positive


def largest(weights: Tensor, count: int | None) -> Tensor:
    """Weights (batch x vocabulary) with all but the ``count`` largest of each text set to 0."""
    if count is None or count >= weights.shape[1]:
        return weights
    kept = weights.topk(count, dim=1)
    return torch.zeros_like(weights).scatter(1, kept.indices, kept.values)


class _Highest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kind = _product_kind(rows)
        rows_there, matrix_there = rows.to(ctx.kind), matrix.to(ctx.kind)
        highest, where = [], []
        for text, own in zip(rows_there, places, strict=True):
            numbers = own.nonzero().squeeze(1)
            values, at = (text[numbers] @ matrix_there.T).max(dim=0)
            highest.append(values)
            where.append(numbers[at])
        ctx.save_for_backward(rows, matrix, torch.stack(where))
        ctx.has_bias = bias is not None
        found = torch.stack(highest).to(torch.promote_types(rows.dtype, torch.float32))
        return found if bias is None else found + bias

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix, where = ctx.saved_tensors
        matrix_there = matrix.to(ctx.kind)
        for_rows, for_matrix = torch.empty_like(rows), torch.zeros_like(matrix)
        slope = outer[0]
        for text, (own, at) in enumerate(zip(slope, where, strict=True)):
            of_places = torch.zeros(rows.shape[1], len(matrix), dtype=ctx.kind, device=rows.device)
            of_places.scatter_(0, at[None], own[None].to(ctx.kind))
            for_rows[text] = of_places @ matrix_there
            for_matrix += of_places.T @ rows[text].to(ctx.kind)
        return for_rows, None, for_matrix, slope.sum(dim=0) if ctx.has_bias else None


def summed_weights(hidden: Tensor, places: Tensor, head: VocabularyHead, shift: float = 0.0) -> Tensor:
    """The sum over the given places of log(1 + max(0, logit)), token by token: batch x vocabulary, float32.

    Shapes and ``shift`` as in ``highest_logits``. One text's logits are held at a time, and worked out again on the way
    back.
    """
    made: Tensor = _Summed.apply(head.transform(hidden), places, head.decoder.weight, _bias(head, shift))  # type: ignore[no-untyped-call]
    return made


def own_weights(
    hidden: Tensor, places: Tensor, tokens: Tensor, own: Tensor, head: VocabularyHead, shift: float, *, summed: bool
) -> Tensor:
    """log(1 + max(0, logit)) of a text's own tokens, the highest over the places or their sum: batch x vocabulary.

    All others are 0, and their logits are not worked out: with a text of 200 tokens and a vocabulary of 30,000 that is
    one product in 150. tokens are int64, batch x length; own, bool, batch x length, are those that the text holds.
    """
    rows, matrix, bias = head.transform(hidden), head.decoder.weight, _bias(head, shift)
    kind = _product_kind(rows)
    logits = rows.to(kind) @ F.embedding(tokens, matrix).to(kind).transpose(1, 2)  # batch x places x tokens
    logits = logits.to(torch.promote_types(rows.dtype, torch.float32))
    if bias is not None:
        logits = logits + bias[tokens][:, None]
    logits = logits.masked_fill(~places[:, :, None], float("-inf"))
    weights = logits.relu().log1p().sum(dim=1) if summed else logits.amax(dim=1).relu().log1p()
    # A token counts once, by its first place; the others go to a last column, which is cut off.
    before = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril(-1)
    again = ((tokens[:, :, None] == tokens[:, None]) & own[:, None] & before).any(dim=2)
    spread = weights.new_zeros(len(tokens), len(matrix) + 1)
    found: Tensor = spread.scatter(1, torch.where(own & ~again, tokens, len(matrix)), weights)[:, :-1]
    return found


def _bias(head: VocabularyHead, shift: float) -> Tensor | None:
    bias, matrix = head.decoder.bias, head.decoder.weight
    if not shift:
        return bias
    return (matrix.new_zeros(len(matrix)) if bias is None else bias) - shift


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kind, ctx.has_bias = _product_kind(rows), bias is not None
        ctx.save_for_backward(rows, places, matrix, *([bias] if bias is not None else []))
        kind = torch.promote_types(rows.dtype, torch.float32)
        rows_there, matrix_there = rows.to(ctx.kind), matrix.to(ctx.kind)
        return torch.stack(
            [
                _logits(text[own], matrix_there, bias, kind).relu_().log1p_().sum(dim=0)
                for text, own in zip(rows_there, places, strict=True)
            ]
        )

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, places, matrix, *biases = ctx.saved_tensors
        bias = biases[0] if ctx.has_bias else None
        rows_there, matrix_there = rows.to(ctx.kind), matrix.to(ctx.kind)
        for_rows, for_matrix, for_bias = torch.zeros_like(rows), torch.zeros_like(matrix), torch.zeros_like(outer[0][0])
        for number, (slope, own) in enumerate(zip(outer[0], places, strict=True)):
            logits = _logits(rows_there[number][own], matrix_there, bias, slope.dtype)
            of_logits = torch.where(logits > 0, slope / (1 + logits.clamp(min=0)), 0.0)
            for_bias += of_logits.sum(dim=0)
            of_logits = of_logits.to(ctx.kind)
            for_rows[number, own] = (of_logits @ matrix_there).to(rows.dtype)
            for_matrix += of_logits.T @ rows_there[number][own]
        return for_rows, None, for_matrix, for_bias if ctx.has_bias else None


def _logits(rows: Tensor, matrix: Tensor, bias: Tensor | None, kind: torch.dtype) -> Tensor:
    logits = (rows @ matrix.T).to(kind)
    return logits if bias is None else logits.add_(bias)


def _product_kind(rows: Tensor) -> torch.dtype:
    """Under autocast products are taken in its type, here as in every linear map."""
    device = rows.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype

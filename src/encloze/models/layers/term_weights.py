"""Compute the term weights of texts: logits over the vocabulary, pooled over the tokens of a text.

The logits of all tokens have the shape batch x length x vocabulary (16 GB in float32 for 64 texts of 2,048 tokens and
30,522 terms), so custom autograd functions compute the logits of one text at a time.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.backbones.base import MlmHead

Activation = Literal["log1p_relu", "relu", "raw"]


def max_logits(hidden: Tensor, positions: Tensor, head: MlmHead, logit_bias: float = 0.0) -> Tensor:
    """Return each vocabulary token's maximum logit over the positions of a text (float32, batch x vocabulary).

    The gradient flows to the position with the maximum.

    Args:
        hidden: batch x length x hidden size.
        positions: bool, batch x length: positions to pool, at least one per text.
        head: Head for masked language modeling.
        logit_bias: Number added to all logits.
    """
    if _is_exporting():  # a loop over texts has no graph for any number of texts
        logits = _all_logits(hidden, positions, head, logit_bias)
        return logits.masked_fill(~positions[:, :, None], float("-inf")).amax(dim=1)
    pooled: Tensor = _MaxLogits.apply(  # type: ignore[no-untyped-call]
        head.transform(hidden), positions, head.decoder.weight, _total_bias(head, logit_bias)
    )
    return pooled


def summed_term_weights(hidden: Tensor, positions: Tensor, head: MlmHead, logit_bias: float = 0.0) -> Tensor:
    """Return log(1 + max(0, logit)) of each vocabulary token, summed over positions (float32, batch x vocabulary).

    Arguments are those of ``max_logits``. To save memory, logits are recomputed in the backward pass.
    """
    if _is_exporting():
        logits = _all_logits(hidden, positions, head, logit_bias)
        return (logits.relu().log1p() * positions[:, :, None]).sum(dim=1)
    pooled: Tensor = _SummedTermWeights.apply(  # type: ignore[no-untyped-call]
        head.transform(hidden), positions, head.decoder.weight, _total_bias(head, logit_bias)
    )
    return pooled


def lexical_term_weights(
    hidden: Tensor, positions: Tensor, ids: Tensor, content: Tensor, head: MlmHead, logit_bias: float, *, summed: bool
) -> Tensor:
    """Return log(1 + max(0, logit)) of the tokens that a text contains, pooled over positions: batch x vocabulary.

    Weights of all other tokens are 0, and their logits are not computed. For a text of 200 tokens and a vocabulary of
    30,000, this reduces the number of multiplications by a factor of 150.

    Args:
        hidden: batch x length x hidden size.
        positions: bool, batch x length: positions to pool.
        ids: int64, batch x length: token ids.
        content: bool, batch x length: True for the tokens that get a weight, such as all except special tokens.
        head: Head for masked language modeling.
        logit_bias: Number added to all logits.
        summed: Whether to pool by the sum over positions instead of the maximum.
    """
    rows, matrix, bias = head.transform(hidden), head.decoder.weight, _total_bias(head, logit_bias)
    dtype = _matmul_dtype(rows)
    logits = rows.to(dtype) @ F.embedding(ids, matrix).to(dtype).transpose(1, 2)  # batch x positions x tokens
    logits = logits.to(torch.promote_types(rows.dtype, torch.float32))
    if bias is not None:
        logits = logits + bias[ids][:, None]
    logits = logits.masked_fill(~positions[:, :, None], float("-inf"))
    weights = logits.relu().log1p().sum(dim=1) if summed else logits.amax(dim=1).relu().log1p()
    # Only the first occurrence of a token counts; all others set an additional last column, which is removed.
    earlier = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril(-1)
    is_repeated = ((ids[:, :, None] == ids[:, None]) & content[:, None] & earlier).any(dim=2)
    columns = torch.where(content & ~is_repeated, ids, len(matrix))
    pooled: Tensor = weights.new_zeros(len(ids), len(matrix) + 1).scatter(1, columns, weights)[:, :-1]
    return pooled


def apply_activation(logits: Tensor, activation: Activation) -> Tensor:
    """Return term weights for logits x of any shape: log(1 + max(0, x)) as in SPLADE, max(0, x), or x (``raw``)."""
    if activation == "raw":
        return logits
    positive = logits.relu()
    return positive.log1p() if activation == "log1p_relu" else positive


def keep_top_k(weights: Tensor, k: int | None) -> Tensor:
    """Return weights (batch x vocabulary) with all but the ``k`` largest of each text set to 0; None keeps all."""
    if k is None or k >= weights.shape[1]:
        return weights
    top = weights.topk(k, dim=1)
    return torch.zeros_like(weights).scatter(1, top.indices, top.values)


class _MaxLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, positions: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.dtype, ctx.has_bias = _matmul_dtype(rows), bias is not None
        cast_rows, cast_matrix = rows.to(ctx.dtype), matrix.to(ctx.dtype)
        maxima, argmaxima = [], []
        for text, mask in zip(cast_rows, positions, strict=True):
            numbers = mask.nonzero().squeeze(1)
            values, indices = (text[numbers] @ cast_matrix.T).max(dim=0)
            maxima.append(values)
            argmaxima.append(numbers[indices])
        ctx.save_for_backward(rows, matrix, torch.stack(argmaxima))
        pooled = torch.stack(maxima).to(torch.promote_types(rows.dtype, torch.float32))
        return pooled if bias is None else pooled + bias

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix, argmaxima = ctx.saved_tensors
        cast_matrix = matrix.to(ctx.dtype)
        row_gradients, matrix_gradient = torch.empty_like(rows), torch.zeros_like(matrix)
        gradient = grad_outputs[0]
        for text, (text_gradient, indices) in enumerate(zip(gradient, argmaxima, strict=True)):
            logit_gradients = torch.zeros(rows.shape[1], len(matrix), dtype=ctx.dtype, device=rows.device)
            logit_gradients.scatter_(0, indices[None], text_gradient[None].to(ctx.dtype))
            row_gradients[text] = logit_gradients @ cast_matrix
            matrix_gradient += logit_gradients.T @ rows[text].to(ctx.dtype)
        return row_gradients, None, matrix_gradient, gradient.sum(dim=0) if ctx.has_bias else None


class _SummedTermWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, positions: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.dtype, ctx.has_bias = _matmul_dtype(rows), bias is not None
        ctx.save_for_backward(rows, positions, matrix, *([bias] if bias is not None else []))
        dtype = torch.promote_types(rows.dtype, torch.float32)
        cast_rows, cast_matrix = rows.to(ctx.dtype), matrix.to(ctx.dtype)
        return torch.stack(
            [
                _logits(text[mask], cast_matrix, bias, dtype).relu_().log1p_().sum(dim=0)
                for text, mask in zip(cast_rows, positions, strict=True)
            ]
        )

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, positions, matrix, *biases = ctx.saved_tensors
        gradient, bias = grad_outputs[0], biases[0] if ctx.has_bias else None
        cast_rows, cast_matrix = rows.to(ctx.dtype), matrix.to(ctx.dtype)
        row_gradients, matrix_gradient = torch.zeros_like(rows), torch.zeros_like(matrix)
        bias_gradient = torch.zeros_like(gradient[0])
        for number, (text_gradient, mask) in enumerate(zip(gradient, positions, strict=True)):
            logits = _logits(cast_rows[number][mask], cast_matrix, bias, text_gradient.dtype)
            logit_gradients = torch.where(logits > 0, text_gradient / (1 + logits.clamp(min=0)), 0.0)
            bias_gradient += logit_gradients.sum(dim=0)
            logit_gradients = logit_gradients.to(ctx.dtype)
            row_gradients[number, mask] = (logit_gradients @ cast_matrix).to(rows.dtype)
            matrix_gradient += logit_gradients.T @ cast_rows[number][mask]
        return row_gradients, None, matrix_gradient, bias_gradient if ctx.has_bias else None


def _is_exporting() -> bool:
    """Return whether the computation is being exported as a graph; torch 2.5 and 2.6 do not say it."""
    return bool(getattr(torch.compiler, "is_exporting", bool)())


def _all_logits(hidden: Tensor, positions: Tensor, head: MlmHead, logit_bias: float) -> Tensor:
    """Return the logits of all tokens at once: batch x length x vocabulary."""
    logits: Tensor = head.transform(hidden) @ head.decoder.weight.T
    bias = _total_bias(head, logit_bias)
    return logits if bias is None else logits + bias


def _logits(rows: Tensor, matrix: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    logits = (rows @ matrix.T).to(dtype)
    return logits if bias is None else logits.add_(bias)


def _total_bias(head: MlmHead, logit_bias: float) -> Tensor | None:
    """Return the MLM head's bias plus ``logit_bias``; None if the head has no bias and ``logit_bias`` is 0."""
    bias, matrix = head.decoder.bias, head.decoder.weight
    if not logit_bias:
        return bias
    return (matrix.new_zeros(len(matrix)) if bias is None else bias) + logit_bias


def _matmul_dtype(rows: Tensor) -> torch.dtype:
    """Return the dtype for matrix products: autocast's dtype if autocast is enabled, else the dtype of ``rows``."""
    device = rows.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype

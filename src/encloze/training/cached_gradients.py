"""Gradient caching (Gao et al., 2021): compute losses over all processes and micro-batches, with bounded memory."""

from __future__ import annotations

from itertools import compress

import torch
from accelerate import Accelerator
from torch import Tensor

from encloze.models.trainable import EmbeddingBatch, Trainable

Gradients = list[Tensor]
"""Gradients of the loss with respect to each embedding tensor of a micro-batch, in the order of the tensors."""


def cached_gradients(
    accelerator: Accelerator,
    module: Trainable,
    micro_batches: list[tuple[EmbeddingBatch, ...]],
    is_empty: list[bool],
    counts: dict[str, Tensor],
    loss_weights: dict[str, float],
) -> tuple[list[Gradients], dict[str, Tensor]]:
    """Compute the global losses of a step and their gradients with respect to this process's embeddings.

    A global loss compares the texts of all processes and micro-batches.

    Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021,
    https://arxiv.org/abs/2101.06983.

    Args:
        accelerator: Used to gather the embeddings of all processes.
        module: Module whose ``global_losses`` is differentiated.
        micro_batches: Embeddings of each micro-batch of this process.
        is_empty: For each micro-batch, whether it has no examples. Every process must take part in each communication,
            so an empty micro-batch is processed too, with a placeholder example that does not change losses or
            gradients.
        counts: Divisor of each loss term: the number of items (such as queries) over which it is summed, on all
            processes.
        loss_weights: Weight of each loss term.

    Returns:
        The gradients of each micro-batch, and the share of this process in each loss term: the sum of the loss
        term over the whole step, divided by the number of processes. The shares of all processes add up to that sum.
    """
    processes, is_real = accelerator.num_processes, [not empty for empty in is_empty]
    gathered, offsets = list[EmbeddingBatch](), list[int]()
    for parts in zip(*micro_batches, strict=True):
        own = list(compress(parts, is_real))
        group_ids, offset = _gather(accelerator, [parts[0].group_ids[:0], *(part.group_ids for part in own)])
        vectors = [
            _gather(accelerator, [_detach(first)[:0], *map(_detach, rest)])[0].requires_grad_()
            for first, *rest in zip(parts[0].vectors, *(part.vectors for part in own), strict=True)
        ]
        gathered.append(EmbeddingBatch(tuple(vectors), group_ids))
        offsets.append(offset)
    with torch.enable_grad():
        sums = module.global_losses(tuple(gathered))
        terms = [weight * sums[name] / counts[name] for name, weight in loss_weights.items() if name in sums]
        loss, inputs = torch.stack(terms).sum(), embedding_tensors(tuple(gathered))
        gradients = iter(torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True))
    # Processes average their gradients, so each gradient is multiplied by the number of processes.
    remaining = [
        [next(gradients)[offset:] * processes for _ in batch.vectors]
        for batch, offset in zip(gathered, offsets, strict=True)
    ]
    split = [_take(part, real, remaining) for part, real in zip(micro_batches, is_real, strict=True)]
    return split, {name: value.detach() / processes for name, value in sums.items()}


def embedding_tensors(batches: tuple[EmbeddingBatch, ...]) -> list[Tensor]:
    """Return the embedding tensors of all batches in one list, in the order of the batches."""
    return [vectors for batch in batches for vectors in batch.vectors]


def _take(part: tuple[EmbeddingBatch, ...], is_real: bool, remaining: list[list[Tensor]]) -> Gradients:
    """Remove the gradients of the next micro-batch from the beginning of ``remaining``, and return them.

    For an empty micro-batch, nothing is removed and the gradients are zeros.
    """
    taken = []
    for batch, left in zip(part, remaining, strict=True):
        for index, vectors in enumerate(batch.vectors):
            size = len(vectors) if is_real else 0
            taken.append(left[index][:size] if is_real else torch.zeros_like(vectors))
            left[index] = left[index][size:]
    return taken


def _gather(accelerator: Accelerator, parts: list[Tensor]) -> tuple[Tensor, int]:
    """Concatenate the tensors in ``parts``, which belong to this process, and gather the result of all processes.

    Returns:
        The rows of all processes, in the order of the processes, and the index of the first row of this process.
    """
    rows = torch.cat(parts)
    if accelerator.num_processes == 1:
        return rows, 0
    sizes = accelerator.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = accelerator.gather(padded).split(max(sizes))
    offset = sum(sizes[: accelerator.process_index])
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)]), offset


def _detach(vectors: Tensor) -> Tensor:
    """Return vectors without their autograd graph, converted to float32 if their precision is lower."""
    return vectors.detach().to(torch.promote_types(vectors.dtype, torch.float32))

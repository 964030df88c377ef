"""Comparing the things of a whole step, over all processes and parts: gradient caching (Gao et al., 2021)."""

from __future__ import annotations

from itertools import compress

import torch
from accelerate import Accelerator
from torch import Tensor

from encloze.models.trainable import Rows, Trainable

Slopes = list[Tensor]
"""The gradient of the loss for each kind of compared vectors of a part, in their order."""


def compare(
    accelerator: Accelerator,
    module: Trainable,
    parts: list[tuple[Rows, ...]],
    empty: list[bool],
    counts: dict[str, Tensor],
    weights: dict[str, float],
) -> tuple[list[Slopes], dict[str, Tensor]]:
    """The slopes of the compared terms over the vectors of each of this process's parts, and the terms' sums.

    ``parts`` without examples (``empty``) take part in the exchange and in nothing else. Of the sums, which every
    process has whole, each gets its share.
    """
    processes, real = accelerator.num_processes, [not is_empty for is_empty in empty]
    whole, begins = list[Rows](), list[int]()
    for kind in zip(*parts, strict=True):
        own = list(compress(kind, real))
        marks, begin = _from_all_processes(accelerator, [kind[0].marks[:0], *(rows.marks for rows in own)])
        vectors = [
            _from_all_processes(accelerator, [_leaf(first)[:0], *map(_leaf, more)])[0].requires_grad_()
            for first, *more in zip(kind[0].vectors, *(rows.vectors for rows in own), strict=True)
        ]
        whole.append(Rows(tuple(vectors), marks))
        begins.append(begin)
    with torch.enable_grad():
        sums = module.compare(tuple(whole))
        terms = [weight * sums[name] / counts[name] for name, weight in weights.items() if name in sums]
        loss, over = torch.stack(terms).sum(), vectors_of(tuple(whole))
        found = iter(torch.autograd.grad(loss, over, allow_unused=True, materialize_grads=True))
    shares = [
        [next(found)[begin:] * processes for _ in rows.vectors] for rows, begin in zip(whole, begins, strict=True)
    ]
    slopes = [_share(part, there, shares) for part, there in zip(parts, real, strict=True)]
    return slopes, {name: value.detach() / processes for name, value in sums.items()}


def vectors_of(compared: tuple[Rows, ...]) -> list[Tensor]:
    """All vectors of all kinds of things, in order."""
    return [vectors for rows in compared for vectors in rows.vectors]


def _share(part: tuple[Rows, ...], there: bool, shares: list[list[Tensor]]) -> Slopes:
    """Take the slopes of a part's vectors from the front of what is left of this process's."""
    taken = []
    for rows, left in zip(part, shares, strict=True):
        for at, vectors in enumerate(rows.vectors):
            size = len(vectors) if there else 0
            taken.append(left[at][:size] if there else torch.zeros_like(vectors))
            left[at] = left[at][size:]
    return taken


def _from_all_processes(accelerator: Accelerator, parts: list[Tensor]) -> tuple[Tensor, int]:
    """The rows of all processes, one process after the other, and where this one's begin."""
    rows = torch.cat(parts)
    if accelerator.num_processes == 1:
        return rows, 0
    sizes = accelerator.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = accelerator.gather(padded).split(max(sizes))
    begin = sum(sizes[: accelerator.process_index])
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)]), begin


def _leaf(vectors: Tensor) -> Tensor:
    """Vectors without their history, in float32 at least."""
    return vectors.detach().to(torch.promote_types(vectors.dtype, torch.float32))

"""Counter-based random numbers: a pure function of (seed, epoch, stream, example, position).

Integers are mixed as in SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). There is no generator state, so results are
the same on every device, for every division into batches or processes, and after a training run is resumed.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Constants of SplitMix64 as signed numbers, because torch has no unsigned 64-bit products.
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def example_keys(seed: int, epoch: int, stream: int, example_ids: Tensor) -> Tensor:
    """Return one random key per example (int64, in the shape of ``example_ids``).

    Args:
        seed: Seed of the training run.
        epoch: Index of the epoch.
        stream: Number that identifies the use of the keys, such as a kind of mask; keys of different streams are
            independent.
        example_ids: Number of each example (int64, any shape).
    """
    key = torch.zeros_like(example_ids)
    for number in (seed, epoch, stream):
        key = derive_keys(key, torch.full_like(example_ids, number))
    return derive_keys(key, example_ids)


def derive_keys(keys: Tensor, numbers: Tensor) -> Tensor:
    """Derive one new key (int64) from each pair of a key and a number; ``keys`` and ``numbers`` are broadcast."""
    mixed = keys + (numbers + 1) * _GOLDEN_GAMMA
    mixed = (mixed ^ _shift_right(mixed, 30)) * _MULTIPLIERS[0]
    mixed = (mixed ^ _shift_right(mixed, 27)) * _MULTIPLIERS[1]
    return mixed ^ _shift_right(mixed, 31)


def uniform(keys: Tensor) -> Tensor:
    """Return one uniformly distributed number in [0, 1) for each key (float32, from 24 bits of the key)."""
    return _shift_right(keys, 40).to(torch.float32) / 2**24


def random_integers(keys: Tensor, limit: int) -> Tensor:
    """Return one integer in [0, limit) for each key (int64). The bias towards small integers is below limit / 2**63."""
    return _shift_right(keys, 1) % limit


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Return ``value`` shifted right, with zeros as new bits (torch's own shift repeats the sign bit)."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)

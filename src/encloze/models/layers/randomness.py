"""Random draws as a pure function of (seed, epoch, stream, example, place): equal on every device and in every batch.

Integers are mixed as in SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Nothing is remembered, so a run that is
resumed, spread over processes or batched in another way draws the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as a signed number: torch has no unsigned 64-bit products
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def keys(seed: int, epoch: int, stream: int, examples: Tensor) -> Tensor:
    """One int64 key for each example (int64, any shape); ``stream`` tells draws for different ends apart."""
    base = torch.zeros_like(examples)
    for number in (seed, epoch, stream):
        base = spread(base, torch.full_like(examples, number))
    return spread(base, examples)


def spread(key: Tensor, places: Tensor) -> Tensor:
    """Keys for places under a key: int64, the shapes broadcast."""
    mixed = key + (places + 1) * _GOLDEN
    mixed = (mixed ^ _shifted(mixed, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    return mixed ^ _shifted(mixed, 31)


def uniform(key: Tensor) -> Tensor:
    """Numbers in [0, 1) from keys: float32, from 24 bits, which float32 holds exactly."""
    return _shifted(key, 40).to(torch.float32) / 2**24


def below(key: Tensor, limit: int) -> Tensor:
    """Whole numbers in [0, limit) from keys: int64; the bias of the remainder is below limit / 2**63."""
    return _shifted(key, 1) % limit


def _shifted(value: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills up with zeros; torch's own repeats the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)

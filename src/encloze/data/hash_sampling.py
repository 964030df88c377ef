"""Sampling by hash: random numbers that depend on a text only, so samples are the same in every run."""

from __future__ import annotations

import hashlib


def hash_to_unit_interval(text: str) -> float:
    """Return a pseudo-random number in [0, 1) that depends on ``text`` only."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48

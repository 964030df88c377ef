"""Sampling by hash: random numbers that depend on a text only, so samples are the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from encloze.data.records import Query


def hash_to_unit_interval(text: str) -> float:
    """Return a pseudo-random number in [0, 1) that depends on ``text`` only."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def sample_queries(queries: Iterable[Query], count: int) -> list[Query]:
    """Return at most ``count`` queries, those with the lowest hashes of their ids."""
    return sorted(queries, key=lambda query: hash_to_unit_interval(query.id))[:count]

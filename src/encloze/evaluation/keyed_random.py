"""Random numbers that depend only on a key, so that they are the same on every machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class KeyedRandom:
    """Random number generator seeded with a hash of its key.

    All methods are built on ``random.Random.random()``, the only method of the module ``random`` whose results Python
    keeps the same across versions for an integer seed.

    Args:
        *key: Values that identify the random sequence. Their string forms are hashed with SHA-256.

    Example:
        >>> KeyedRandom(0, "typos", "q1").randbelow(10) == KeyedRandom(0, "typos", "q1").randbelow(10)
        True
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("\0".join(map(str, key)).encode("utf-8", "surrogatepass")).digest()
        self._random = random.Random(int.from_bytes(digest))

    def random(self) -> float:
        """Return a float in [0, 1)."""
        return self._random.random()

    def randbelow(self, count: int) -> int:
        """Return a random integer from 0 to ``count - 1``."""
        return int(self._random.random() * count)

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.randbelow(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Sample items without replacement, in random order, by the algorithm of Fisher and Yates.

        Args:
            items: The items to sample from.
            count: Number of items to return. If it is larger than the number of ``items``, all are returned.
        """
        moved, sampled = dict[int, int](), list[T]()
        for last in range(len(items) - 1, max(-1, len(items) - 1 - count), -1):
            position = self.randbelow(last + 1)
            sampled.append(items[moved.get(position, position)])
            moved[position] = moved.get(last, last)
        return sampled

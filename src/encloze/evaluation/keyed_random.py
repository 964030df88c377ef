"""Random choices that depend on a key alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class KeyedRandom:
    """Choices drawn from a key, the same on any machine.

    Python keeps ``random()`` of a seed given as a number the same from version to version, and nothing else of random.
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("\0".join(map(str, key)).encode("utf-8", "surrogatepass")).digest()
        self._random = random.Random(int.from_bytes(digest))

    def share(self) -> float:
        """A number from 0 to below 1."""
        return self._random.random()

    def below(self, count: int) -> int:
        return int(self._random.random() * count)

    def one(self, things: Sequence[T]) -> T:
        return things[self.below(len(things))]

    def some(self, things: Sequence[T], count: int) -> list[T]:
        """``count`` of them, all if there are fewer, in an order that is drawn, too (Fisher and Yates)."""
        moved, found = dict[int, int](), list[T]()
        for last in range(len(things) - 1, max(-1, len(things) - 1 - count), -1):
            at = self.below(last + 1)
            found.append(things[moved.get(at, at)])
            moved[at] = moved.get(last, last)
        return found

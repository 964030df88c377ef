"""The ids of a collection: by number from a file, and numbers by id without a dictionary of all of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np


class Ids(Sequence[str]):
    """Ids in the order of their documents, read from mapped Arrow arrays as they are asked for."""

    def __init__(self, chunks: Sequence[Any], begins: np.ndarray) -> None:
        """``begins`` (int64, chunks + 1) says which number each chunk begins with, and how many there are."""
        self._chunks = chunks
        self._begins: list[int] = begins.tolist()

    def __len__(self) -> int:
        return self._begins[-1]

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(f"document {at} of {len(self)}")
        chunk = bisect_right(self._begins, number) - 1
        return str(self._chunks[chunk][number - self._begins[chunk]].as_py())

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            yield from chunk.to_pylist()


class NumberOf(Mapping[str, int]):
    """The number of each id: 16 bytes for each, whatever its length."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def __getitem__(self, id_: str) -> int:
        own = hash(id_)
        at = int(self._hashes.searchsorted(own))
        while at < len(self._hashes) and self._hashes[at] == own:  # two ids may have the same hash
            if self._ids[number := int(self._order[at])] == id_:
                return number
            at += 1
        raise KeyError(id_)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

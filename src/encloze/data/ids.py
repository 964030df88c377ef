"""Document ids of a corpus: from index to id (memory-mapped), and from id to index (16 bytes per document)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from encloze.data.row_access import take_rows

_ROWS = 4096


class DocumentIds(Sequence[str]):
    """Ids in the order of their documents, read from memory-mapped Arrow arrays on access."""

    def __init__(self, chunks: Sequence[Any], offsets: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Create the sequence of the ids in Arrow arrays.

        Args:
            chunks: Arrow string arrays that together contain all ids, in order.
            offsets: Index of the first document of each chunk, followed by the total number of documents: int64 array
                of shape (chunks + 1,).
            rows: Positions in the chunks of the documents, if some were deleted: int64, ascending.
        """
        self._chunks, self._rows = chunks, rows
        self._offsets: list[int] = offsets.tolist()

    def __len__(self) -> int:
        return self._offsets[-1] if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"document index {index} is out of range for a corpus of {len(self)} documents")
        number = number if self._rows is None else int(self._rows[number])
        chunk = bisect_right(self._offsets, number) - 1
        return str(self._chunks[chunk][number - self._offsets[chunk]].as_py())

    def __iter__(self) -> Iterator[str]:
        if self._rows is not None:
            for start in range(0, len(self), _ROWS):
                yield from self.take(np.arange(start, min(start + _ROWS, len(self))))
            return
        for chunk in self._chunks:
            yield from chunk.to_pylist()

    def take(self, numbers: np.ndarray) -> list[str]:
        """Return the ids of many documents, faster than one by one.

        Args:
            numbers: Document indices: int64 array of shape (documents,). They are not checked.
        """
        return take_rows(self._chunks, self._offsets, numbers if self._rows is None else self._rows[numbers])


class NumberById(Mapping[str, int]):
    """Mapping from document ids to document indices. It stores 16 bytes per id, regardless of the length of the ids."""

    def __init__(self, ids: DocumentIds) -> None:
        """Create the mapping from the hashes of all ids.

        Args:
            ids: Ids in the order of their documents. Each lookup reads the ids that have the same hash as the requested
                id, because the mapping stores only hashes.
        """
        self._ids = ids
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        self._order = np.argsort(hashes, kind="stable")
        self._sorted_hashes = hashes[self._order]

    def __getitem__(self, id_: str) -> int:
        hash_value = hash(id_)
        position = int(self._sorted_hashes.searchsorted(hash_value))
        # Different ids may have the same hash.
        while position < len(self._sorted_hashes) and self._sorted_hashes[position] == hash_value:
            if self._ids[number := int(self._order[position])] == id_:
                return number
            position += 1
        raise KeyError(id_)

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Return the document indices of many ids, and -1 for unknown ids: int64 array of shape (ids,).

        This is much faster than to look them up one by one.
        """
        if not len(ids) or not len(self):
            return np.full(len(ids), -1)
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        positions = self._sorted_hashes.searchsorted(hashes).clip(max=len(self) - 1)
        numbers: np.ndarray = self._order[positions]
        for place in np.flatnonzero(np.array(self._ids.take(numbers), object) != np.array(ids, object)).tolist():
            numbers[place] = self.get(ids[place], -1)  # unknown, or another id has the same hash
        return numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

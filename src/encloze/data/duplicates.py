"""Groups of identical and near-identical texts, by MinHash (Broder, 1997) and an exact check of what it finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH

from encloze import progress
from encloze.data.words import words_of

_SHINGLE = 4  # words
_PERMUTATIONS = 64
_COSTS = (0.02, 0.98)  # of a pair looked at in vain and of a pair missed: every candidate is checked exactly


def group_duplicates(texts: Sequence[str], similarity: float = 0.8) -> np.ndarray:
    """The group of each text: texts share a group where a chain of pairs links them.

    A pair is linked where the Jaccard similarity of their sets of ``_SHINGLE`` words in a row reaches
    ``similarity`` (1 is identical but for case and punctuation); of pairs that just reach it the sketches miss one in
    twenty, of pairs 0.05 above it one in a hundred. Returns int64 numbers, the smallest text of each
    group standing for it.
    """
    words = [tuple(words_of(text)) for text in texts]
    group = np.arange(len(texts))
    first: dict[tuple[str, ...], int] = {}
    for number, key in enumerate(words):
        group[number] = first.setdefault(key, number)
    if similarity < 1:
        _link_near(words, list(first.values()), group, similarity)
    return np.array([_root(group, number) for number in range(len(texts))], dtype=np.int64)


class Shingled:
    """Some texts, to hold others against."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._shingles = [_shingles(tuple(words_of(text))) for text in texts]

    def nearest(self, text: str) -> float:
        """The highest Jaccard similarity of the text and one of these, by words in a row: 0 to 1."""
        mine = _shingles(tuple(words_of(text)))
        return max((len(mine & own) / max(1, len(mine | own)) for own in self._shingles), default=0.0)


def _link_near(words: list[tuple[str, ...]], distinct: list[int], group: np.ndarray, similarity: float) -> None:
    index = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=_COSTS)
    shingles: dict[int, set[bytes]] = {}
    for number in progress.track(distinct, "Looking for near-duplicates", len(distinct), "texts"):
        shingles[number] = _shingles(words[number])
        if not shingles[number]:
            continue
        sketch = MinHash(_PERMUTATIONS, seed=1)
        sketch.update_batch(list(shingles[number]))
        for other in index.query(sketch):
            mine, theirs = shingles[number], shingles[other]
            if len(mine & theirs) >= similarity * len(mine | theirs):
                low, high = sorted((_root(group, number), _root(group, other)))
                group[high] = low
        index.insert(number, sketch, check_duplication=False)


def _shingles(words: tuple[str, ...]) -> set[bytes]:
    return {" ".join(words[at : at + _SHINGLE]).encode() for at in range(max(1, len(words) - _SHINGLE + 1))} - {b""}


def _root(group: np.ndarray, number: int) -> int:
    while group[number] != number:
        group[number] = group[group[number]]
        number = int(group[number])
    return number

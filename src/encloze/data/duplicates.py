"""Groups of identical and near-identical texts, found with MinHash (Broder, 1997) and verified by exact comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encloze import progress
from encloze.data.words import split_words

_SHINGLE_WORDS = 4
_PERMUTATIONS = 64
_LSH_WEIGHTS = (0.02, 0.98)  # of false positives and false negatives; false positives are removed by the exact check


def group_duplicates(texts: Sequence[str], similarity: float = 0.8) -> np.ndarray:
    """Group texts that are identical or nearly identical.

    Two texts are linked if the Jaccard similarity of their sets of 4-word shingles is at least ``similarity``, or if
    their words are the same in the same order. Texts that are linked directly or through a chain of links are in the
    same group. MinHash misses about 1 in 20 pairs whose similarity equals ``similarity``, and about 1 in 100 pairs
    whose similarity is 0.05 higher.

    Args:
        texts: Texts to compare.
        similarity: Minimum Jaccard similarity of linked texts, above 0 and at most 1. With 1, only texts that are equal
            except for case and punctuation are linked.

    Returns:
        For each text, the index of the first text in its group: int64 array of shape (texts,).

    Example:
        >>> group_duplicates(["The river is deep.", "Bread is baked.", "the river is deep"], similarity=1).tolist()
        [0, 1, 0]
    """
    words = [tuple(split_words(text)) for text in texts]
    groups = np.arange(len(texts))
    first_number: dict[tuple[str, ...], int] = {}
    for number, key in enumerate(words):
        groups[number] = first_number.setdefault(key, number)
    if similarity < 1:
        _link_similar(words, list(first_number.values()), groups, similarity)
    return np.array([_root(groups, number) for number in range(len(texts))], dtype=np.int64)


class ShingleSets:
    """Shingles (sequences of 4 words) of several texts, for measuring the similarity of another text to them.

    Example:
        >>> ShingleSets(["a river flows into the sea"]).max_similarity("a river flows into the lake")
        0.5
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Compute the set of 4-word shingles of each text.

        Args:
            texts: Texts that ``max_similarity`` compares another text with.
        """
        self._shingle_sets = [_shingles(tuple(split_words(text))) for text in texts]

    def max_similarity(self, text: str) -> float:
        """Return the highest Jaccard similarity, from 0 to 1, between ``text`` and the texts given at creation."""
        shingles = _shingles(tuple(split_words(text)))
        return max((len(shingles & own) / max(1, len(shingles | own)) for own in self._shingle_sets), default=0.0)


def _link_similar(words: list[tuple[str, ...]], numbers: list[int], groups: np.ndarray, similarity: float) -> None:
    """Find pairs of similar texts, and merge the groups of the two texts of each pair by changing ``groups`` in place.

    ``numbers`` contains the indices of the texts to compare. Of several equal texts, it contains only the first.
    """
    from datasketch import MinHash, MinHashLSH  # takes long to import, and few commands need it

    index = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=_LSH_WEIGHTS)
    shingle_sets: dict[int, set[bytes]] = {}
    for number in progress.track(numbers, "Searching for near-duplicates", len(numbers), "texts"):
        shingles = shingle_sets[number] = _shingles(words[number])
        if not shingles:
            continue
        sketch = MinHash(_PERMUTATIONS, seed=1)
        sketch.update_batch(list(shingles))
        for candidate in index.query(sketch):
            other = shingle_sets[candidate]
            if len(shingles & other) >= similarity * len(shingles | other):
                low, high = sorted((_root(groups, number), _root(groups, candidate)))
                groups[high] = low
        index.insert(number, sketch, check_duplication=False)


def _shingles(words: tuple[str, ...]) -> set[bytes]:
    """Return all sequences of 4 consecutive words; a text of fewer words is a single sequence."""
    count = max(1, len(words) - _SHINGLE_WORDS + 1)
    return {" ".join(words[start : start + _SHINGLE_WORDS]).encode() for start in range(count)} - {b""}


def _root(groups: np.ndarray, number: int) -> int:
    """Return the index of the first text in the group of text ``number`` (union-find with path halving)."""
    while groups[number] != number:
        groups[number] = groups[groups[number]]
        number = int(groups[number])
    return number

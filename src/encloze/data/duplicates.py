"""Groups of identical and near-identical texts, found exactly, by prefix filtering (Chaudhuri et al., 2006).

If two texts have a Jaccard similarity of t, at least t x n of the n shingles of each are shared. So the rarest
n - t x n + 1 shingles of each text include a shared one, and only texts that share one of these are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from encloze import progress
from encloze.data.shingles import jaccard_similarity, shingle_hashes
from encloze.data.words import split_words
from encloze.storage.hashes import checksum_of

_BUCKETS = np.uint64(128)
_PAIRS_AT_A_TIME = 2**16
_ROUNDING = 1e-9  # so that the product of two floats is not rounded up to the next integer


def group_duplicates(texts: Sequence[str], similarity: float = 0.8) -> np.ndarray:
    """Group texts that are identical or nearly identical.

    Two texts are linked if the Jaccard similarity of their sets of 4-word shingles is at least ``similarity``, or if
    their words are the same in the same order. Texts that are linked directly or through a chain of links are in the
    same group.

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
    groups = np.arange(len(texts))
    first_number, shingles = dict[str, int](), list[np.ndarray]()
    for number, text in enumerate(progress.track(texts, "Searching for duplicates", len(texts), "texts")):
        words = split_words(text)
        groups[number] = first_number.setdefault(checksum_of("\0".join(words)), number)
        if groups[number] == number and similarity < 1:
            shingles.append(shingle_hashes(words))
    if shingles:
        numbers = np.fromiter(first_number.values(), np.int64, len(first_number))
        groups = numbers[_link_similar(shingles, similarity)][np.searchsorted(numbers, groups)]
    return groups


def _link_similar(shingles: Sequence[np.ndarray], similarity: float) -> np.ndarray:
    """Return, for each text, the index of the first text in its group, from the ``shingle_hashes`` of all texts."""
    groups = np.arange(len(shingles))
    for first, second in _candidate_pairs(shingles, similarity, groups):
        low, high = sorted((_root(groups, first), _root(groups, second)))
        if low != high and jaccard_similarity(shingles[first], shingles[second]) >= similarity:
            groups[high] = low
    return _roots(groups)


def _candidate_pairs(
    shingles: Sequence[np.ndarray], similarity: float, groups: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of texts that may be similar and are not in the same group, each pair once.

    ``groups`` is read again and again, so pairs that the caller links need no further comparisons.
    """
    sizes = np.array([len(each) for each in shingles])
    histograms = np.stack([np.bincount(each % _BUCKETS, minlength=int(_BUCKETS)) for each in shingles], dtype=np.int32)
    texts, rare = _rarest_shingles(shingles, sizes, similarity)
    positions, compared = np.arange(len(texts)), set[tuple[int, int]]()
    for distance in range(1, len(texts)):  # between two texts that share a shingle, in the list of its texts
        positions = positions[positions < len(texts) - distance]
        positions = positions[rare[positions] == rare[positions + distance]]
        roots = _roots(groups)
        for start in range(0, len(positions), _PAIRS_AT_A_TIME):
            first = texts[positions[start : start + _PAIRS_AT_A_TIME]]
            second = texts[positions[start : start + _PAIRS_AT_A_TIME] + distance]
            few, many = np.minimum(sizes[first], sizes[second]), np.maximum(sizes[first], sizes[second])
            kept = np.flatnonzero((few / many >= similarity) & (roots[first] != roots[second]))
            first, second = first[kept], second[kept]
            common = np.minimum(histograms[first], histograms[second]).sum(1)  # an upper bound
            kept = np.flatnonzero(common >= similarity * (sizes[first] + sizes[second] - common) - _ROUNDING)
            pairs = set(zip(first[kept].tolist(), second[kept].tolist(), strict=True)) - compared
            compared |= pairs
            yield from sorted(pairs)
        if not len(positions):
            return


def _rarest_shingles(
    shingles: Sequence[np.ndarray], sizes: np.ndarray, similarity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shingles of each text that are compared: numbers of texts and of shingles, sorted by shingle and text.

    Shingles that only one text has are left out.
    """
    texts = np.repeat(np.arange(len(shingles)), sizes)
    _, numbers, counts = np.unique(np.concatenate(shingles), return_inverse=True, return_counts=True)
    numbers = numbers[np.lexsort((numbers, counts[numbers], texts))]  # in each text, the rarest shingles first
    places = np.arange(len(texts)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    lengths = sizes - np.ceil(similarity * sizes - _ROUNDING).astype(np.int64) + 1
    kept = np.flatnonzero((places < lengths[texts]) & (counts[numbers] > 1))
    kept = kept[np.lexsort((texts[kept], numbers[kept]))]
    return texts[kept], numbers[kept]


def _roots(groups: np.ndarray) -> np.ndarray:
    """Return the index of the first text in the group of every text."""
    while ((parents := groups[groups]) != groups).any():
        groups = parents
    return groups


def _root(groups: np.ndarray, number: int) -> int:
    """Return the index of the first text in the group of text ``number`` (union-find with path halving)."""
    while groups[number] != number:
        groups[number] = groups[groups[number]]
        number = int(groups[number])
    return number

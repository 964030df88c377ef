"""Shingles, the sequences of 4 consecutive words of a text, as sorted 64-bit hashes; and the similarity of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import xxhash

_WORDS = 4
_FACTORS = np.random.default_rng(0).integers(2**63, size=_WORDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
"""One odd factor for each position in a shingle, so that the same words in another order have another hash."""


def shingle_hashes(words: Sequence[str]) -> np.ndarray:
    """Return the hashes of the distinct shingles of a text.

    A text of fewer than 4 words has one shingle, and a text without words has none. Two different shingles have the
    same hash with a probability of 2**-64.

    Args:
        words: The words of the text, from ``split_words``.

    Returns:
        The hashes in ascending order: uint64 array of shape (shingles,).

    Example:
        >>> [len(shingle_hashes(text.split())) for text in ("a river flows into the sea", "rivers flow", "")]
        [3, 1, 0]
    """
    hashes = np.fromiter(map(_hash_word, words), np.uint64, len(words))
    count = max(1, len(words) - _WORDS + 1) if words else 0
    shingles = np.zeros(count, np.uint64)
    for position, factor in enumerate(_FACTORS[: len(words)]):
        shingles += hashes[position : position + count] * factor
    return np.unique(shingles)


def jaccard_similarity(shingles: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two texts, from 0 to 1, from their ``shingle_hashes``; 0 if both have none."""
    if not len(shingles) or not len(other):
        return 0.0
    few, many = sorted((shingles, other), key=len)
    common = int(np.count_nonzero(many[many.searchsorted(few).clip(max=len(many) - 1)] == few))
    return common / (len(few) + len(many) - common)


def max_similarity(shingles: np.ndarray, others: Iterable[np.ndarray], threshold: float = 0.0) -> float:
    """Return the highest Jaccard similarity of one text to several others; 0 for those that cannot reach ``threshold``.

    Args:
        shingles: ``shingle_hashes`` of the text.
        others: The same of the other texts.
        threshold: Similarity of interest. Texts whose numbers of shingles are too different for it are not compared.
    """
    best = 0.0
    for other in others:
        few, many = sorted((len(shingles), len(other)))
        if few and few / many >= threshold:
            best = max(best, jaccard_similarity(shingles, other))
    return best


@lru_cache(2**18)
def _hash_word(word: str) -> int:
    return int(xxhash.xxh3_64_intdigest(word.encode(errors="surrogatepass")))

"""Maximal marginal relevance: hits that are relevant and say something that the hits above them do not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from encloze.data.records import Hit
from encloze.data.words import split_words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def diversify(hits: Sequence[Hit], k: int, diversity: float) -> list[Hit]:
    """Return ``k`` hits, chosen one after the other by maximal marginal relevance.

    The method is that of Carbonell and Goldstein (SIGIR 1998). Each next hit maximizes ``(1 - diversity) * relevance -
    diversity * similarity``: its score, normalized to the range from 0 to 1 over all hits, and its largest cosine
    similarity to a hit above it. Texts are compared by their words, with tf-idf weights among the hits, so the result
    does not depend on the kind of index.

    Args:
        hits: The candidates with their documents, best first.
        k: Number of hits.
        diversity: From 0, which keeps the order by score, to 1.
    """
    if not hits:
        return []
    vectors = _word_vectors([f"{hit.title} {hit.text}" for hit in hits])
    scores = np.array([hit.score for hit in hits])
    spread = float(np.ptp(scores))
    relevance = (scores - scores.min()) / spread if spread else np.ones(len(hits))
    similarity, left, order = np.zeros(len(hits)), np.ones(len(hits), np.bool_), list[int]()
    for _ in range(min(k, len(hits))):
        gain = np.where(left, (1 - diversity) * relevance - diversity * similarity, -np.inf)
        chosen = int(gain.argmax())  # of equal ones, the first
        order.append(chosen)
        left[chosen] = False
        similarity = np.maximum(similarity, (vectors @ vectors[chosen].T).toarray()[:, 0])
    return [hits[place] for place in order]


def _word_vectors(texts: Sequence[str]) -> csr_matrix:
    """Return the tf-idf weights of the words of texts, each row of length 1: (texts, words)."""
    from scipy.sparse import csr_matrix

    counts = [Counter(split_words(text)) for text in texts]
    column = {word: place for place, word in enumerate(dict.fromkeys(itertools.chain.from_iterable(counts)))}
    rows = np.repeat(np.arange(len(texts)), [len(of_text) for of_text in counts])
    columns = np.array([column[word] for of_text in counts for word in of_text], np.int64)
    frequencies = np.array([count for of_text in counts for count in of_text.values()], np.float64)
    idf = np.log(1 + len(texts) / np.bincount(columns, minlength=len(column)))
    weights = (1 + np.log(frequencies)) * idf[columns]
    lengths = np.sqrt(np.bincount(rows, weights**2, len(texts)))
    return csr_matrix((weights / lengths[rows], (rows, columns)), (len(texts), len(column)))

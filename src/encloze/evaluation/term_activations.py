"""Statistics of sparse representations: which terms of the vocabulary are active, and how many per text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

FREQUENT_TERM_RATIO = 0.95
"""Minimum document frequency of a frequent term, as a fraction of the texts."""


@dataclass(frozen=True)
class TermActivations:
    """Counts of active terms in the sparse representations of texts (SPLADE: Formal et al., SIGIR 2021).

    A term of the vocabulary is active in a text if its weight in the text's representation is above 0.

    Example:
        >>> activations = TermActivations.empty(3).add(np.array([2, 0, 1]), np.array([1, 2]))
        >>> round(activations.dead_ratio, 2), activations.num_frequent_terms
        (0.33, 1)
    """

    document_frequencies: np.ndarray
    """Number of texts in which each term is active: int64 array of shape (vocabulary,)."""
    active_dims: np.ndarray
    """Number of active terms of each text: int64 array of shape (texts,)."""

    @classmethod
    def empty(cls, vocabulary: int) -> Self:
        """Return the counts for an empty set of texts.

        Args:
            vocabulary: Size of the vocabulary.
        """
        return cls(np.zeros(vocabulary, np.int64), np.zeros(0, np.int64))

    def add(self, document_frequencies: np.ndarray, active_dims: np.ndarray) -> TermActivations:
        """Return new counts that include both the texts counted so far and further texts.

        Args:
            document_frequencies: Number of further texts in which each term is active, of shape (vocabulary,).
            active_dims: Number of active terms of each further text, of shape (further texts,).
        """
        return TermActivations(
            self.document_frequencies + document_frequencies, np.concatenate([self.active_dims, active_dims])
        )

    @property
    def dead_ratio(self) -> float:
        """Fraction of the terms of the vocabulary that are active in no text."""
        return float(np.mean(self.document_frequencies == 0))

    @property
    def num_frequent_terms(self) -> int:
        """Number of terms that are active in at least 95 % of the texts; these do not discriminate between texts."""
        return int((self.document_frequencies >= max(1, FREQUENT_TERM_RATIO * len(self.active_dims))).sum())

    def dead_ratio_in_corpus(self, is_in_corpus: np.ndarray) -> float:
        """Among the terms that occur in the texts, return the fraction of those that are active in no text.

        Args:
            is_in_corpus: Whether each term of the vocabulary occurs in the texts (bool, shape (vocabulary,)).
        """
        return float(np.mean(self.document_frequencies[is_in_corpus] == 0)) if is_in_corpus.any() else 0.0

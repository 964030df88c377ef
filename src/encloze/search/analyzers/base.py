"""Interface of text analyzers."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.family import Family


@dataclass(frozen=True)
class Analyzer(Family):
    """Base class of text analyzers, which split a text into normalized terms for BM25.

    Example:
        >>> from encloze.search.analyzers.stemmed import Stemmed
        >>> Stemmed().words("The rivers are flowing")
        ['river', 'flow']
    """

    def words(self, text: str) -> list[str]:
        """Return the terms of a text in order, including repeated terms."""
        raise NotImplementedError(type(self).__name__)

"""An analyzer: text to the words that BM25 counts."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.family import Family


@dataclass(frozen=True)
class Analyzer(Family):
    """Text to words."""

    def words(self, text: str) -> list[str]:
        """The words of a text, in order."""
        raise NotImplementedError(type(self).__name__)

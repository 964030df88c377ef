"""Analyzer for any script: words with their combining marks, or character bigrams for scripts without spaces."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.data.words import split_words
from encloze.search.analyzers.base import Analyzer


@dataclass(frozen=True)
class Unicode(Analyzer, name="unicode"):
    r"""Analyzer for any script: a term is a lower-case word with its combining marks, such as Hindi vowel signs.

    Chinese, Japanese, Thai and other scripts without spaces between words are split into overlapping pairs of letters.
    Hebrew vowel points (niqqud) and Arabic vowel signs (harakat) are removed. The analyzer ``plain`` uses Python's
    ``\w``, which does not match combining marks: it splits Hindi words at their vowel signs, and Hebrew words with
    vowel points into single letters. For most texts in other scripts the two analyzers give the same terms.
    """

    def words(self, text: str) -> list[str]:
        """Return the terms of a text in order, including repeated terms."""
        return split_words(text)

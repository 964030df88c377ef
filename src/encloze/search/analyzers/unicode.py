"""Words of any script, including combining vowel signs, and character bigrams for unspaced scripts."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.data.words import split_words
from encloze.search.analyzers.base import Analyzer


@dataclass(frozen=True)
class Unicode(Analyzer, name="unicode"):
    r"""Analyzer whose terms are runs of letters with their combining marks, or runs of digits.

    Hebrew vowel points (niqqud) and Arabic vowel signs (harakat) are removed. The difference from ``plain``: Python's
    ``\w`` does not match combining marks, so ``plain`` splits Hindi words at their vowel signs and pointed Hebrew into
    single letters. For most texts in other scripts both give the same terms.
    """

    def words(self, text: str) -> list[str]:
        """Return the terms of a text in order, including repeated terms."""
        return split_words(text)

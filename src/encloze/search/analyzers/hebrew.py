"""Analyzer for Hebrew: words without their prefixes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encloze.data.words import split_words
from encloze.search.analyzers.base import Analyzer

# Letters that can be the prefixes and, that, the, like, to, from or in, before three letters or more.
_PREFIXES = re.compile("^[ושהכלמב]+(?=[א-ת]{3,}$)")


@dataclass(frozen=True)
class Hebrew(Analyzer, name="hebrew"):
    """Analyzer for Hebrew: a term is a word without its prefixes, such as the article or the word for "and".

    Hebrew writes the article, "and" and short prepositions as one word with the next one. All letters that can be such
    prefixes are removed from the beginning of a word, as long as at least three letters remain. There is no dictionary:
    a word whose own first letter is one of them loses it, too, in documents and in queries alike.
    Vowel points (niqqud) are removed; words in other scripts are those of the analyzer ``unicode``.

    Example:
        >>> Hebrew().words("הספרים ובבית")
        ['ספרים', 'בית']
    """

    def words(self, text: str) -> list[str]:
        """Return the terms of a text in order, including repeated terms."""
        return [_PREFIXES.sub("", word) for word in split_words(text)]

r"""Analyzer without stemming: terms are lower-case words, or bigrams of Chinese and Japanese characters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encloze.search.analyzers.base import Analyzer

_WORD = re.compile(r"\w+")
# Han, Hiragana, Katakana and their half-width forms: scripts that do not separate words by spaces.
_UNSPACED = re.compile("([\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]+)")


@dataclass(frozen=True)
class Plain(Analyzer, name="plain"):
    r"""Analyzer without stemming or stop words: a term is a lower-cased match of ``\w+``, or a bigram of characters.

    Chinese and Japanese words are split into bigrams. Combining marks are not matched by ``\w``, so they separate
    terms. Use the analyzer ``unicode`` for scripts that write vowels as combining marks.
    """

    def words(self, text: str) -> list[str]:
        """Return the terms of a text in order, including repeated terms."""
        words: list[str] = _WORD.findall(text.lower())
        if not _UNSPACED.search(text):
            return words
        return [term for word in words for run in _UNSPACED.split(word) if run for term in _bigrams(run)]


def _bigrams(run: str) -> list[str]:
    """Return the character bigrams of a Chinese or Japanese string; a single character or other text is unchanged."""
    if len(run) < 2 or not _UNSPACED.match(run):
        return [run]
    return [run[start : start + 2] for start in range(len(run) - 1)]

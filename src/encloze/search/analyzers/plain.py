"""Lower-cased runs of letters and digits; Chinese and Japanese as pairs of characters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encloze.search.analyzers.base import Analyzer

_WORD = re.compile(r"\w+")
# Han, Hiragana, Katakana and their half-width forms: scripts that put no blanks between words.
_UNSPACED = re.compile("([\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]+)")


@dataclass(frozen=True)
class Plain(Analyzer, name="plain"):
    r"""Every run of ``\w`` is a word, which has no combining marks in it; no stemming, no stop words."""

    def words(self, text: str) -> list[str]:
        found: list[str] = _WORD.findall(text.lower())
        if not _UNSPACED.search(text):
            return found
        return [part for word in found for run in _UNSPACED.split(word) if run for part in _pairs(run)]


def _pairs(run: str) -> list[str]:
    if len(run) < 2 or not _UNSPACED.match(run):
        return [run]
    return [run[at : at + 2] for at in range(len(run) - 1)]

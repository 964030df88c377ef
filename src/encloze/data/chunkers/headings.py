"""Passages of whole paragraphs that belong to one section."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encloze.data.chunkers._packing import Span, num_words, pack
from encloze.data.chunkers._sentences import short_sentences
from encloze.data.chunkers.base import Chunker, Passage

_HEADING = re.compile(
    r"^[ ]{0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$|^(?P<text>\S.*)\n[ ]{0,3}(=+|-{3,})[ \t]*$", re.MULTILINE
)
_PARAGRAPH = re.compile(r"\S(?:.|\n(?![ \t]*\n))*")


@dataclass(frozen=True)
class Headings(Chunker, name="headings"):
    """Passages of whole paragraphs below one heading of Markdown, as many as fit. Headings become part of the titles.

    A longer paragraph is divided between sentences. A text without headings is divided between paragraphs.
    """

    max_words: int = 200
    """Maximum number of words of a passage. In scripts without spaces, letters are counted."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"max_words must be 1 or more, not {self.max_words}")

    def cut(self, text: str) -> list[Passage]:
        passages, begin, heading = list[Passage](), 0, ""
        for match in _HEADING.finditer(text):
            passages += self._section(text, begin, match.start(), heading)
            begin, heading = match.end(), (match[2] or match["text"]).strip()
        return passages + self._section(text, begin, len(text), heading)

    def _section(self, text: str, begin: int, end: int, heading: str) -> list[Passage]:
        """Return the passages of a section."""
        parts = list[Span]()
        for match in _PARAGRAPH.finditer(text, begin, end):
            first, last = match.start(), match.start() + len(match[0].rstrip())
            if num_words(text[first:last]) <= self.max_words:
                parts.append((first, last))
            else:
                inside = pack(text, short_sentences(text, first, last, self.max_words), self.max_words, 0)
                parts += [(part.begin, part.end) for part in inside]
        return [passage._replace(heading=heading) for passage in pack(text, parts, self.max_words, 0)]

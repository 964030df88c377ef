"""Passages of whole paragraphs that belong to one section."""

from __future__ import annotations

import re
from dataclasses import dataclass

from encloze.data.chunkers._packing import Span, num_words, pack, sizes_of
from encloze.data.chunkers._sentences import short_sentences
from encloze.data.chunkers.base import Chunker, Passage

_HEADING = re.compile(
    r"^[ ]{0,3}(?P<marks>#{1,6})[ \t]+(?P<atx>\S.*?)[ \t]*#*[ \t]*\r?$"
    r"|^(?P<setext>\S.*)\n[ ]{0,3}(?P<line>=+|-{3,})[ \t]*\r?$",
    re.MULTILINE,
)
_CODE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,}).*?(?:^[ ]{0,3}\1[`~]*[ \t]*\r?$|\Z)", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\S(?:.|\n(?![ \t\r]*\n))*")


@dataclass(frozen=True)
class Headings(Chunker, name="headings"):
    """Passages of whole paragraphs below one heading of Markdown, as many as fit. Headings become part of the titles.

    The title contains the headings of all sections that a passage belongs to. A longer paragraph is divided between
    sentences. A text without headings is divided between paragraphs, and one that has only headings is one passage.
    """

    max_words: int = 200
    """Maximum number of words of a passage. In scripts without spaces, letters are counted."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"max_words must be 1 or more, not {self.max_words}")

    def cut(self, text: str) -> list[Passage]:
        code = [match.span() for match in _CODE.finditer(text)]
        passages, begin, path = list[Passage](), 0, dict[int, str]()
        for match in _HEADING.finditer(text):
            if any(first <= match.start() < last for first, last in code):
                continue
            passages += self._section(text, begin, match.start(), tuple(path.values()))
            level = len(match["marks"]) if match["marks"] else 1 if match["line"][0] == "=" else 2
            path = {other: heading for other, heading in path.items() if other < level}
            path[level] = (match["atx"] or match["setext"]).strip()
            begin = match.end()
        return passages + self._section(text, begin, len(text), tuple(path.values()))

    def _section(self, text: str, begin: int, end: int, headings: tuple[str, ...]) -> list[Passage]:
        """Return the passages of a section."""
        parts = list[Span]()
        for match in _PARAGRAPH.finditer(text, begin, end):
            first, last = match.start(), match.start() + len(match[0].rstrip())
            if num_words(text[first:last]) <= self.max_words:
                parts.append((first, last))
            else:
                sentences = short_sentences(text, first, last, self.max_words)
                inside = pack(sentences, sizes_of(text, sentences), self.max_words, 0)
                parts += [(part.begin, part.end) for part in inside]
        return [
            passage._replace(headings=headings) for passage in pack(parts, sizes_of(text, parts), self.max_words, 0)
        ]

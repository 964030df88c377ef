"""Plain text of Markdown, by section."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---[ \t]*\n(?=[\w-]+[ \t]*:)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n\s*\n")
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile("<[^<>]*>")
_MAX_NESTING = 100
"""Levels of lists and quotations that are read; the parser drops deeper ones, by default from 20 on."""
_MAX_PARAGRAPH = 5_000
"""Characters of a paragraph above which its markup is kept, because the parser's time may grow with their square."""


class Block(NamedTuple):
    """A block of text: a paragraph, a list, a table, a quotation or code."""

    parts: list[str]
    """Parts at which a long block may be divided: list items, rows of a table, parts of code between blank lines."""
    separator: str
    """Text between the parts."""

    @property
    def text(self) -> str:
        """The whole block."""
        return self.separator.join(self.parts)


class Section(NamedTuple):
    """A heading and the text below it, up to the next heading."""

    title: str
    blocks: list[Block]


def markdown_sections(content: str, title: str) -> Iterator[Section]:
    """Divide Markdown into sections of plain text, without markup, tags, comments and front matter.

    Headings are those of CommonMark outside of lists and quotations; tables are read, too. Consecutive headings are
    joined to one title. A heading without text at the end is a section without blocks.

    Args:
        content: The Markdown text.
        title: Title of the text before the first heading, unless the front matter contains a title.

    Example:
        >>> list(markdown_sections("# Rivers\\nThey *flow*.", "guide"))
        [Section(title='Rivers', blocks=[Block(parts=['They flow.'], separator='\\n')])]
    """
    if front_matter := _FRONT_MATTER.match(content):
        found = _TITLE.search(front_matter[1])
        content, title = content[front_matter.end() :], found[1].strip("\"'") if found else title
    blocks, is_after_heading = list[Block](), False
    for is_heading, block in _blocks(content):
        if not is_heading:
            blocks.append(block)
            is_after_heading = False
            continue
        if blocks:
            yield Section(title, blocks)
        heading = " ".join(block.text.split())
        title = f"{title} / {heading}" if is_after_heading else heading
        blocks, is_after_heading = [], True
    if blocks or is_after_heading:
        yield Section(title, blocks)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table").disable("inline")


def _blocks(content: str) -> Iterator[tuple[bool, Block]]:
    """Yield each block with text, and whether it is a heading outside of lists and quotations."""
    parts, cells, separator, is_row = list[str](), list[str](), "\n", False
    references: dict[str, Any] = {}
    for token in _parser().parse(content, references):
        if token.type in ("tr_open", "tr_close"):
            is_row = token.type == "tr_open"
            parts += [] if is_row else [", ".join(cells)]
            cells = []
        elif token.type == "inline":
            (cells if is_row else parts).append(_plain(_inline_tokens(token.content, references)).strip())
        elif token.type in ("fence", "code_block"):
            parts += _BLANK_LINES.split(token.content.strip("\n"))
            separator = "\n\n" if token.level == 0 else separator
        elif token.type == "html_block":
            parts.append(_text_of_html(token.content))
        if token.level == 0 and token.nesting <= 0:
            if parts := [part for part in parts if part.strip()]:
                yield token.type == "heading_close", Block(parts, separator)
            parts, separator = [], "\n"


def _inline_tokens(content: str, references: dict[str, Any]) -> list[Token]:
    """Return the inline tokens of a paragraph, heading or table cell."""
    from markdown_it.token import Token

    if len(content) > _MAX_PARAGRAPH:
        return [Token("text", "", 0, content=content)]
    _parser().inline.parse(content, _parser(), references, tokens := list[Token]())
    return tokens


def _plain(tokens: list[Token]) -> str:
    """Return the text of inline tokens. Images are replaced by their alternative text, and tags are left out."""
    parts: list[str] = []
    for token in tokens:
        if token.type in ("text", "text_special", "code_inline"):
            parts.append(token.content)
        elif token.type == "image":
            parts.append(_plain(token.children or []))
        elif token.type in ("softbreak", "hardbreak") or (token.type == "html_inline" and token.content[:3] == "<br"):
            parts.append("\n")
    return "".join(parts)


def _text_of_html(content: str) -> str:
    """Return the text of HTML. Regular expressions are used, because html.parser takes hours for some inputs."""
    text = html.unescape(_TAG.sub("", _HIDDEN.sub("", content)))
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())

"""Content blocks of an HTML or Markdown report: paragraphs, lists, tables, charts, query examples and code."""

from __future__ import annotations

from typing import NamedTuple

from encloze.tables import Table


class Paragraph(NamedTuple):
    """A paragraph of text."""

    text: str


class BulletList(NamedTuple):
    """A bulleted list below a title."""

    title: str
    lines: list[str]


class Chart(NamedTuple):
    """An SVG image. Markdown reports omit it, because their tables contain the same numbers."""

    title: str
    svg: str


class Code(NamedTuple):
    """Lines of code or commands to copy. HTML reports show only the title until the reader opens the block."""

    title: str
    text: str


class Excerpt(NamedTuple):
    """A document that a system retrieved, with an excerpt of its text."""

    rank: int
    id: str
    title: str
    parts: list[tuple[str, bool]]
    """Consecutive pieces of the excerpt, as pairs (piece, whether the piece is a word of the query)."""
    is_relevant: bool | None
    """Whether the document is judged relevant; None if it is not judged."""


class QueryExample(NamedTuple):
    """A query with the documents that two systems retrieved for it."""

    query: str
    """Id of the query."""
    text: str
    verdict: str
    """Text that states which of the two systems is better on the query, and the scores of both."""
    results: list[tuple[str, list[Excerpt]]]
    """For each of the two systems, a pair of its name and the documents that it retrieved."""


Block = Paragraph | BulletList | Table | Chart | Code | QueryExample


class Section(NamedTuple):
    """A section of the report."""

    title: str
    blocks: list[Block]

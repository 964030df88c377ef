"""What a report is made of: sections of prose, tables, charts, answered queries and code."""

from __future__ import annotations

from typing import NamedTuple


class Cell(str):
    """The text of a table's cell, with what the page makes of it; in Markdown it is the text alone."""

    best: bool
    heat: float | None
    """From -1, good, to 1, bad."""
    hint: str

    def __new__(cls, text: str, *, best: bool = False, heat: float | None = None, hint: str = "") -> Cell:
        made = super().__new__(cls, text)
        made.best, made.heat, made.hint = best, heat, hint
        return made


class Prose(NamedTuple):
    """A paragraph."""

    text: str


class Listing(NamedTuple):
    """Some lines, each for itself."""

    title: str
    lines: list[str]


class Table(NamedTuple):
    """Rows of text under a title; the first is the head."""

    title: str
    rows: list[list[str]]


class Chart(NamedTuple):
    """A picture; Markdown leaves it out, since what it shows stands in a table, too."""

    title: str
    svg: str


class Code(NamedTuple):
    """Lines to copy, folded away under a title."""

    title: str
    text: str


class Excerpt(NamedTuple):
    """A document that a system found."""

    rank: int
    id: str
    title: str
    parts: list[tuple[str, bool]]
    """A piece of its text, in runs that are words of the query or not."""
    relevant: bool | None
    """None where nobody judged it."""


class Answered(NamedTuple):
    """A query, what it came to, and what two systems found for it."""

    query: str
    text: str
    verdict: str
    found: list[tuple[str, list[Excerpt]]]
    """By system."""


Block = Prose | Listing | Table | Chart | Code | Answered


class Section(NamedTuple):
    """A part of the report."""

    title: str
    blocks: list[Block]

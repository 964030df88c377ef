"""A report as one HTML file that needs nothing else: both themes, any direction of writing, paper."""

from __future__ import annotations

import re
from importlib import resources
from itertools import groupby
from typing import Any, NamedTuple

from encloze.errors import importable
from encloze.reporting.blocks import Block, Cell, Section, Table
from encloze.reporting.document import Document

_FIGURE = re.compile(r"[-+]?[\d.,]+( ?%| ?\*| \[.*\])?$")


class _Shown(NamedTuple):
    """A section with its neighbouring blocks of a kind together."""

    title: str
    groups: list[tuple[str, list[Any]]]


class _Rows(NamedTuple):
    """A table that knows which of its columns hold words."""

    title: str
    rows: list[list[Cell]]
    are_words: list[bool]


def page(report: Document, when: str, version: str) -> str:
    jinja: Any = importable("jinja2", "report")
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined)
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    sections = [_shown(section) for section in report.sections]
    return str(template.render(title=report.title, sections=sections, when=when, version=version))


def _shown(section: Section) -> _Shown:
    groups = [(kind, list(map(_ready, some))) for kind, some in groupby(section.blocks, lambda one: type(one).__name__)]
    return _Shown(section.title, groups)


def _ready(block: Block) -> Any:
    if not isinstance(block, Table):
        return block
    body = block.rows[1:]
    are_words = [
        at == 0 or not all(_FIGURE.match(row[at]) for row in body if row[at]) for at in range(len(block.rows[0]))
    ]
    rows = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in block.rows]
    return _Rows(block.title, rows, are_words)

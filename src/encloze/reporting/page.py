"""Rendering of a report as one self-contained HTML file with light and dark themes."""

from __future__ import annotations

from importlib import resources
from itertools import groupby
from typing import Any, NamedTuple

from encloze.errors import importable
from encloze.reporting.blocks import Section
from encloze.reporting.document import ReportDocument


class _SectionGroups(NamedTuple):
    """A report section. Consecutive blocks of one type form a group, in which charts are shown side by side."""

    title: str
    groups: list[tuple[str, list[Any]]]


def render_page(document: ReportDocument, subtitle: str, version: str) -> str:
    """Return a report as HTML.

    Args:
        document: The report.
        subtitle: Text below the title, such as the date.
        version: Version of encloze, for the footer.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    jinja: Any = importable("jinja2", "report")
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined)
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    sections = [_grouped(section) for section in document.sections]
    return str(template.render(title=document.title, sections=sections, subtitle=subtitle, version=version))


def _grouped(section: Section) -> _SectionGroups:
    groups = [(kind, list(blocks)) for kind, blocks in groupby(section.blocks, lambda block: type(block).__name__)]
    return _SectionGroups(section.title, groups)

"""Rendering of a report as Markdown, without its charts."""

from __future__ import annotations

from collections.abc import Iterator

from encloze.reporting.blocks import Block, BulletList, Chart, Code, Excerpt, Paragraph, QueryExample
from encloze.reporting.document import ReportDocument
from encloze.tables import Table, quote

_RELEVANCE = {True: ", relevant", False: ", judged not relevant", None: ""}


def render_markdown(document: ReportDocument) -> str:
    """Return a report as Markdown."""
    lines = [f"# {document.title}", ""]
    for section in document.sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += _lines(block)
    return "\n".join(lines)


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield from (text, "")
        case BulletList(title, lines):
            yield from (f"**{title}**", "", *(f"- {line}" for line in lines), "")
        case Table():
            yield from (f"**{block.title}**", "", block.to_markdown(), "")
        case Code(title, text):
            yield from (f"**{title}**", "", *(f"    {line}" for line in text.splitlines()), "")
        case QueryExample(query, text, verdict, results):
            yield from (f"**{quote(' '.join(text.split()))}** ({query}): {verdict}", "")
            for system, excerpts in results:
                yield from (f"- {system}", *map(_excerpt, excerpts))
            yield ""
        case Chart():
            pass


def _excerpt(excerpt: Excerpt) -> str:
    text = "".join(f"**{piece}**" if is_word else piece for piece, is_word in excerpt.parts)
    name, relevance = excerpt.title or excerpt.id, _RELEVANCE[excerpt.is_relevant]
    return f"  {excerpt.rank}. {name} ({excerpt.id}{relevance}){': ' * bool(text)}{text}"

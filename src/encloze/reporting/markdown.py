"""Rendering of a report as Markdown, without its charts."""

from __future__ import annotations

from collections.abc import Iterator

from encloze.escapes import markdown
from encloze.reporting.blocks import Block, BulletList, Chart, Code, Excerpt, Paragraph, QueryExample
from encloze.reporting.document import ReportDocument
from encloze.tables import Table, quote

_RELEVANCE = {True: ", relevant", False: ", judged not relevant", None: ""}


def render_markdown(document: ReportDocument) -> str:
    """Return a report as Markdown."""
    lines = [f"# {markdown(document.title)}", ""]
    for section in document.sections:
        lines += [f"## {markdown(section.title)}", ""]
        for block in section.blocks:
            lines += _lines(block)
    return "\n".join(lines)


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield from (markdown(text), "")
        case BulletList(title, lines):
            yield from (f"**{markdown(title)}**", "", *(f"- {markdown(line)}" for line in lines), "")
        case Table():
            yield from (f"**{markdown(block.title)}**", "", block.to_markdown(), "")
        case Code(title, text):
            yield from (f"**{markdown(title)}**", "", *(f"    {line}" for line in text.splitlines()), "")
        case QueryExample(query, text, verdict, results):
            yield from (f"**{quote(markdown(' '.join(text.split())))}** ({markdown(query)}): {markdown(verdict)}", "")
            for system, excerpts in results:
                yield from (f"- {markdown(system)}", *map(_excerpt, excerpts))
            yield ""
        case Chart():
            pass


def _excerpt(excerpt: Excerpt) -> str:
    text = "".join(f"**{markdown(piece)}**" if is_word else markdown(piece) for piece, is_word in excerpt.parts)
    name, relevance = excerpt.title or excerpt.id, _RELEVANCE[excerpt.is_relevant]
    head = f"  {excerpt.rank}. {markdown(name)} ({markdown(excerpt.id)}{relevance})"
    return f"{head}{': ' * bool(text)}{text}"

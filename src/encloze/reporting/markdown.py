"""A report in Markdown: all of it but the pictures."""

from __future__ import annotations

from collections.abc import Iterator

from encloze.evaluation.report import markdown_table, quoted
from encloze.reporting.blocks import Answered, Block, Chart, Code, Excerpt, Listing, Prose, Table
from encloze.reporting.document import Document


def markdown(report: Document) -> str:
    lines = [f"# {report.title}", ""]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += _lines(block)
    return "\n".join(lines)


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Prose(text):
            yield from (text, "")
        case Listing(title, said):
            yield from (f"**{title}**", "", *(f"- {line}" for line in said), "")
        case Table(title, rows):
            yield from (f"**{title}**", "", *markdown_table(rows), "")
        case Code(title, text):
            yield from (f"**{title}**", "", *(f"    {line}" for line in text.splitlines()), "")
        case Answered(query, text, verdict, found):
            yield from (f"**{quoted(' '.join(text.split()))}** ({query}): {verdict}", "")
            for system, excerpts in found:
                yield from (f"- {system}", *map(_excerpt, excerpts))
            yield ""
        case Chart():
            pass


def _excerpt(one: Excerpt) -> str:
    known = {True: ", relevant", False: ", judged not relevant", None: ""}[one.relevant]
    words = "".join(f"**{run}**" if is_word else run for run, is_word in one.parts)
    return f"  {one.rank}. {one.title or one.id} ({one.id}{known}){': ' * bool(words)}{words}"

"""Display of search hits, inspections, panels of encoders, and lists of family members."""

from __future__ import annotations

import textwrap

from rich.text import Text

from encloze.cli.display.console import OUT, excerpt, say, show, show_tables
from encloze.commands.list import ListResult
from encloze.commands.search import InteractiveSearch, SearchResult
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import Panel, line_of


@show.register
def _(result: SearchResult) -> None:
    if not result.hits:
        say("No document matches the query.")
    for rank, (document, hit) in enumerate(result.hits, 1):
        parts = ", ".join(f"{name} {score:.3f}" for name, score in hit.parts.items())
        line = Text(f"{rank:>2}. ")
        line.append(document.title or document.id, style="bold")
        line.append(f"  {hit.score:.4f}{f' ({parts})' * bool(parts)}  {document.id}", style="dim")
        OUT.print(line)
        say(textwrap.indent(textwrap.fill(excerpt(document.text), min(OUT.width, 120) - 4), "    "))


@show.register
def _(result: InteractiveSearch) -> None:
    say(f"Searching {len(result.searcher.corpus):,} documents. Enter an empty line to quit.")
    while query := _read_query():
        show(result.answer(query))


@show.register
def _(result: Inspection) -> None:
    say("\n\n".join("\n".join(paragraph) for paragraph in result.paragraphs()))
    if result.panel:
        say()
        show(result.panel)


@show.register
def _(result: Panel) -> None:
    show_tables(result.tables(), result.notes())
    if result.labels:
        say()
        show(result.labels)
    for number, text in enumerate(result.texts):
        OUT.print(f'\nNearest documents to "{text}"', style="bold", markup=False)
        for encoder in result.encoders:
            say(f"{encoder.name}:")
            for rank, near in enumerate(encoder.near[number], 1):
                say(f"{rank:>3}. {line_of(near)}")


@show.register
def _(result: ListResult) -> None:
    width = max(map(len, result.entries), default=0)
    for name, summary in result.entries.items():
        say(f"{name:<{width}}  {summary}")


def _read_query() -> str:
    try:
        return input("search> ").strip()
    except EOFError:
        return ""

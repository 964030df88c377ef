"""Display of search hits, inspections, panels of encoders, and lists of family members."""

from __future__ import annotations

import textwrap

from rich.text import Text

from encloze.cli.display.console import OUT, excerpt, say, show, show_tables
from encloze.commands.list import ListResult
from encloze.commands.search import InteractiveSearch
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import Panel
from encloze.retrieval.results import Hits


@show.register
def _(result: Hits) -> None:
    if not result:
        say("No document matches the query.")
    for rank, hit in enumerate(result, 1):
        parts = ", ".join(f"{name} {score:.3f}" for name, score in hit.parts.items())
        line = Text(f"{rank:>2}. ")
        line.append(hit.title or hit.id, style="bold")
        line.append(f"  {hit.score:.4f}{f' ({parts})' * bool(parts)}  {hit.id}", style="dim")
        OUT.print(line)
        say(textwrap.indent(textwrap.fill(excerpt(hit.text), min(OUT.width, 120) - 4), "    "))


@show.register
def _(result: InteractiveSearch) -> None:
    say(f"Searching {len(result.retriever.corpus):,} documents. Enter an empty line to quit.")
    while query := _read_query():
        show(result.answer(query))


@show.register
def _(result: Inspection) -> None:
    show_tables(result.tables(), result.notes)
    if result.panel:
        say()
        show(result.panel)


@show.register
def _(result: Panel) -> None:
    show_tables(result.tables(), result.notes())
    if result.labels:
        say()
        show(result.labels)
    for number, query in enumerate(result.queries):
        OUT.print(f'\nNearest documents to "{query}"', style="bold", markup=False)
        for encoder in result.encoders:
            say(f"{encoder.name}:")
            for rank, document in enumerate(encoder.nearest[number], 1):
                say(f"{rank:>3}. {document.summary()}")


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

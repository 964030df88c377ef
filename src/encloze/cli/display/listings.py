"""Display of the results of ``inspect`` (data statistics, metrics of encoders) and ``list`` (names of components)."""

from __future__ import annotations

from encloze.cli.display.console import OUT, say, show, show_tables
from encloze.commands.list import ListResult
from encloze.escapes import visible
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import Panel


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
        OUT.print(visible(f'\nNearest documents to "{query}"'), style="bold")
        for encoder in result.encoders:
            say(f"{encoder.name}:")
            for rank, document in enumerate(encoder.nearest[number], 1):
                say(f"{rank:>3}. {document.summary()}")


@show.register
def _(result: ListResult) -> None:
    width = max(map(len, result.entries), default=0)
    for name, summary in result.entries.items():
        say(f"{name:<{width}}  {summary}")

"""What is read and not kept: hits, a prompt, a corpus and encoders looked at, a list."""

from __future__ import annotations

import textwrap

from rich import box
from rich.table import Table
from rich.text import Text

from encloze.cli.display.screen import OUT, excerpt, show
from encloze.commands.list import Listing
from encloze.commands.search import Found, Prompt
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import Panel, line_of


@show.register
def _(result: Found) -> None:
    if not result.hits:
        OUT.print("Nothing was found.")
    for rank, (document, hit) in enumerate(result.hits, 1):
        parts = ", ".join(f"{name} {score:.3f}" for name, score in hit.parts.items())
        line = Text(f"{rank:>2}. ")
        line.append(document.title or document.id, style="bold")
        line.append(f"  {hit.score:.4f}{f' ({parts})' * bool(parts)}  {document.id}", style="dim")
        OUT.print(line)
        OUT.print(textwrap.indent(textwrap.fill(excerpt(document.text), min(OUT.width, 120) - 4), "    "), markup=False)


@show.register
def _(result: Prompt) -> None:
    OUT.print(f"{len(result.searcher.corpus):,} documents. An empty line ends.", markup=False)
    while query := _ask():
        show(result.answer(query))


@show.register
def _(result: Inspection) -> None:
    OUT.print("\n\n".join("\n".join(paragraph) for paragraph in result.paragraphs()), markup=False)
    if result.panel:
        OUT.print()
        show(result.panel)


@show.register
def _(result: Panel) -> None:
    OUT.print(result.title(), style="bold", markup=False)
    head, *rows = result.rows()
    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(head):
        words = number in (0, len(head) - 1)
        table.add_column(name, justify="left" if words else "right", no_wrap=number == 0)
    for name, *cells in rows:
        table.add_row(Text(name, style="" if any(cells) else "bold"), *map(Text, cells))
    OUT.print(table)
    for note in result.notes():
        OUT.print(note, markup=False)
    if result.labels:
        OUT.print()
        show(result.labels)
    for number, text in enumerate(result.texts):
        OUT.print(f'\nNear to "{text}"', style="bold", markup=False)
        for encoder in result.encoders:
            OUT.print(f"{encoder.name}:", markup=False)
            for rank, near in enumerate(encoder.near[number], 1):
                OUT.print(f"{rank:>3}. {line_of(near)}", markup=False)


@show.register
def _(result: Listing) -> None:
    width = max(map(len, result.entries), default=0)
    for name, summary in result.entries.items():
        OUT.print(f"{name:<{width}}  {summary}", markup=False)


def _ask() -> str:
    try:
        return input("search> ").strip()
    except EOFError:
        return ""

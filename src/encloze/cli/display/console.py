"""Output to the terminal: results of commands (``show``), tables, lines of text and excerpts."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from encloze.escapes import visible
from encloze.tables import Cell, Kind, Table


class _Console(Console):
    """Console that shows text as it is: without markup and emoji codes, and with control characters escaped.

    Titles, texts and ids come from files of others, so all output of commands passes through this class.
    """

    def __init__(self, *, is_error: bool) -> None:
        is_terminal = (sys.stderr if is_error else sys.stdout).isatty()
        # A file or a pipe has no width of its own.
        width = None if is_terminal else 200
        super().__init__(stderr=is_error, highlight=False, markup=False, emoji=False, width=width)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


OUT = _Console(is_error=False)
ERR = _Console(is_error=True)


_RENDERERS = ("hits", "output_folders", "listings", "reports")
"""Modules that register functions for result types; imported in this order until one knows a type."""


@functools.singledispatch
def show(result: object) -> None:
    """Print the result of a command with the function registered for its type; if there is none, as ``str(result)``."""
    for module in _RENDERERS:
        importlib.import_module(f"encloze.cli.display.{module}")
        if (render := show.dispatch(type(result))) is not show.dispatch(object):
            render(result)
            return
    if result is not None:
        OUT.print(visible(str(result)))


def say(text: str = "") -> None:
    """Print a line of text to the standard output. A command is not wrapped, so that it can be copied."""
    OUT.print(visible(text), soft_wrap=text.lstrip().startswith("encloze "))


def show_tables(tables: Iterable[Table], notes: Iterable[str] = ()) -> None:
    """Print each table below its title, then each note on its own line."""
    for table in tables:
        show_table(table)
    for note in notes:
        say(note)


def show_table(table: Table) -> None:
    """Print one table below its title."""
    if table.title:
        OUT.print(visible(table.title), style="bold")  # rich would wrap a table title at the table's width
    drawn = RichTable(box=box.SIMPLE_HEAD)
    for column in table.columns:
        drawn.add_column(Text(visible(column.name)), justify="left" if column.kind.is_text else "right")
    for row in table.shown_cells():
        drawn.add_row(*(_stacked(cell, kind) for cell, kind in row))
    OUT.print(drawn)


def _stacked(cell: Cell, kind: Kind) -> Text:
    """Return the text of a cell. The bounds of an interval are on a second line, which keeps the table narrow."""
    bounds = kind.format_bounds(cell.value)
    interval = f"\n{bounds[0]} {bounds[1]}" if bounds else ""
    return Text.assemble(visible(f"{kind.format(cell.value)}{cell.suffix}"), (interval, "dim"))


def excerpt(text: str, characters: int = 240) -> str:
    """Return the first ``characters`` characters of a text on one line; a longer text is cut between words."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[:characters].rsplit(' ', 1)[0]} ..."

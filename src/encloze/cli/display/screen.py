"""What everything is drawn with: the two streams, a table, a line of a text; and ``show``, which each result joins."""

from __future__ import annotations

import functools
import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A file or a pipe has no width to keep to.
OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
ERR = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 200)
_NAMES = ("system", "data set", "verdict")  # columns of words


@functools.singledispatch
def show(result: object) -> None:
    """Show what a verb gave back."""
    if result is not None:
        OUT.print(str(result), markup=False)


def show_table(title: str, rows: list[list[str]]) -> None:
    """A table of text under its title."""
    head, *rest = rows
    OUT.print(title, style="bold", markup=False)  # not the table's own, which breaks at the table's width
    table = Table(box=box.SIMPLE_HEAD)
    for name in head:
        table.add_column(name, justify="left" if name in _NAMES else "right")
    for row in rest:
        table.add_row(*map(stacked, row))
    OUT.print(table)


def stacked(cell: str) -> Text:
    """A figure with its interval below it, so that the table stays narrow."""
    figure, _, interval = cell.partition(" [")
    return Text.assemble(figure, (f"\n{interval.rstrip(']').replace(', ', ' ')}" if interval else "", "dim"))


def excerpt(text: str, letters: int = 240) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= letters else f"{line[:letters].rsplit(' ', 1)[0]} ..."

"""Tables of typed values, and their rendering as text, Markdown, HTML and pandas data frames.

Result objects, such as those of evaluations, return a ``Table`` whose cells contain numbers and intervals, not text.
Only the renderers below turn a value into text, so no code has to parse a rendered number. The command line draws the
same tables with rich (``encloze.cli.display``).
"""

from __future__ import annotations

import enum
import html
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from encloze.errors import importable
from encloze.escapes import markdown
from encloze.intervals import Interval

Value = str | int | float | Interval | None
"""Value of a table cell; None for an empty cell."""
_VALUES = (str, numbers.Real, Interval, type(None))


class Kind(enum.Enum):
    """Kind of value in a table column or cell. The kind determines the number format and the alignment."""

    TEXT = ""
    """Words, aligned at the start of the line."""
    MEASURE = ".4f"
    """Retrieval measure, such as nDCG@10."""
    DIFFERENCE = "+.4f"
    """Difference between two measures, with its sign."""
    P_VALUE = "p"
    """P-value with four decimals."""
    MILLISECONDS = ".1f"
    """Duration in milliseconds."""
    MEBIBYTES = ".2f"
    """Size in MiB."""
    COUNT = ",.0f"
    """Number of things, with thousands separators."""
    SHARE = ".0%"
    """Share between 0 and 1, rendered as a percentage."""
    STATISTIC = "s"
    """Number of any magnitude with three decimals below 10 and one decimal from 10 on."""
    NUMBER = ".4g"
    """Number of any magnitude with four significant digits."""

    @property
    def is_text(self) -> bool:
        """Whether values of this kind are words, not numbers."""
        return self is Kind.TEXT

    def format(self, value: Value) -> str:
        """Return a value as text; for an interval, its mean without its bounds."""
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        number = value.mean if isinstance(value, Interval) else value
        if self is Kind.TEXT:
            return str(number)
        specification = self.value
        if self is Kind.P_VALUE:
            specification = ".4f"
        elif self is Kind.STATISTIC:
            specification = ".3f" if abs(number) < 10 else ".1f"
        text = format(number, specification)
        if text[0] in "-+" and not text.strip("-+0.,%"):  # no negative zero
            text = ("+" if self is Kind.DIFFERENCE else "") + text[1:]
        return text

    def format_bounds(self, value: Value) -> tuple[str, str] | None:
        """Return the bounds of an interval as text, or None for any other value."""
        if not isinstance(value, Interval):
            return None
        return self.format(value.low), self.format(value.high)


class Cell(NamedTuple):
    """A value with formatting options. A row contains a ``Cell`` only where options are needed, else the value itself.

    Args:
        value: Value of the cell.
        kind: Kind of the value if it differs from the kind of the column.
        is_best: Whether the value is the best of its column.
        heat: Background color in HTML, from -1 (good) to 1 (bad); None for no color.
        hint: Tooltip of the cell in HTML.
        suffix: Text appended to the rendered value, such as a significance mark.
    """

    value: Value
    kind: Kind | None = None
    is_best: bool = False
    heat: float | None = None
    hint: str = ""
    suffix: str = ""


class Column(NamedTuple):
    """Name and kind of a table's column.

    Args:
        name: Heading of the column.
        kind: Kind of its values.
        is_grouping: Whether the terminal and HTML show a value only once if it is the same in consecutive rows.
    """

    name: str
    kind: Kind = Kind.TEXT
    is_grouping: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of typed values below named columns.

    Args:
        title: Heading of the table, without a period at the end.
        columns: Name and kind of each column.
        rows: One tuple for each row with as many values as there are columns.

    Raises:
        ValueError: The number of values in a row differs from the number of columns, or a value is neither text nor a
            number.

    Example:
        >>> table = Table("Results", (Column("system"), Column("nDCG@10", Kind.MEASURE)), (("bm25", 0.25),))
        >>> print(table.to_markdown())
        | system | nDCG@10 |
        | --- | ---: |
        | bm25 | 0.2500 |
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value | Cell, ...], ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"the row {row} has {len(row)} values for {len(self.columns)} columns")
            if wrong := [value for value in row if not isinstance(_cell(value).value, _VALUES)]:
                raise ValueError(f"the row {row} contains {wrong[0]!r:.60}, which is neither text nor a number")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    def values(self, name: str) -> list[Value]:
        """Return the values of the column called ``name``, one for each row."""
        position = self.names.index(name)
        return [_cell(row[position]).value for row in self.rows]

    def cells(self) -> list[list[tuple[Cell, Kind]]]:
        """Return the cells of each row, as pairs (cell, kind of its value)."""
        return [
            [(cell := _cell(value), cell.kind or column.kind) for value, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]

    def shown_cells(self) -> list[list[tuple[Cell, Kind]]]:
        """Return ``cells()``; in grouping columns at the start of a row, cells that repeat the cell above are empty."""
        result, previous = [], list[tuple[Cell, Kind]]()
        for row in self.cells():
            count = 0
            for column, cell, above in zip(self.columns, row, previous, strict=False):
                if not column.is_grouping or cell != above:
                    break
                count += 1
            result.append([(Cell(None), kind) for _, kind in row[:count]] + row[count:])
            previous = row
        return result

    def without_columns(self, *names: str) -> Table:
        """Return the table without the columns called ``names``."""
        return self._keep([name not in names for name in self.names])

    def without_empty_columns(self) -> Table:
        """Return the table without the columns in which every value is None or an empty string."""
        return self._keep([any(value not in (None, "") for value in self.values(name)) for name in self.names])

    def with_best(self, *names: str) -> Table:
        """Return a copy in which the highest value of each of the columns ``names`` is marked as best."""
        rows = [list(row) for row in self.rows]
        for name in names if len(rows) > 1 else ():
            position = self.names.index(name)
            numbers = [_number(value) for value in self.values(name)]
            highest = max((number for number in numbers if number is not None), default=None)
            for row, number in zip(rows, numbers, strict=True):
                if number is not None and number == highest:
                    row[position] = _cell(row[position])._replace(is_best=True)
        return replace(self, rows=tuple(map(tuple, rows)))

    def to_markdown(self) -> str:
        """Return the table in Markdown, without its title."""
        lines = [[_escape_markdown(name) for name in self.names]]
        lines.append(["---" if column.kind.is_text else "---:" for column in self.columns])
        lines += [[_escape_markdown(as_text(cell, kind)) for cell, kind in row] for row in self.cells()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_html(self) -> str:
        """Return the table as an HTML element, with its title as the caption.

        Cells of text have the class ``words``, the best values the class ``best``, and cells with heat the class
        ``heat`` with the CSS variables ``--tone`` and ``--depth``. Bounds of intervals are in a ``small`` element.
        """
        heads = "".join(
            f'<th scope="col"{_words_class(column.kind)} dir="auto">{html.escape(column.name)}</th>'
            for column in self.columns
        )
        lines = [f'<table><caption dir="auto">{html.escape(self.title)}</caption>', f"<thead><tr>{heads}</tr></thead>"]
        rows = [
            "".join(_html_cell(cell, kind, is_first=number == 0) for number, (cell, kind) in enumerate(row))
            for row in self.shown_cells()
        ]
        return "\n".join([*lines, "<tbody>", *(f"<tr>{row}</tr>" for row in rows), "</tbody></table>"])

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Columns of numbers have a numeric dtype. A column ``NAME`` of intervals becomes three columns: ``NAME``,
        ``NAME low`` and ``NAME high``.

        Raises:
            MissingExtraError: pandas is not installed.

        Example:
            >>> table = Table("", (Column("n", Kind.COUNT),), ((3,),))
            >>> table.to_pandas()["n"].tolist()
            [3]
        """
        pandas: Any = importable("pandas", "pandas")
        columns: dict[str, list[Value]] = {}
        for name in self.names:
            values = self.values(name)
            if not any(isinstance(value, Interval) for value in values):
                columns[name] = values
                continue
            bounded = [value if isinstance(value, Interval) else None for value in values]
            columns[name] = [value.mean if isinstance(value, Interval) else value for value in values]
            columns[f"{name} low"] = [None if value is None else value.low for value in bounded]
            columns[f"{name} high"] = [None if value is None else value.high for value in bounded]
        return pandas.DataFrame(columns)

    def _repr_html_(self) -> str:
        """Return the table as HTML, for display in a notebook."""
        return f'<div class="encloze-table">{_NOTEBOOK_STYLE}{self.to_html()}</div>'

    def _keep(self, is_kept: Sequence[bool]) -> Table:
        def kept(values: Iterable[Any]) -> tuple[Any, ...]:
            return tuple(value for value, keep in zip(values, is_kept, strict=True) if keep)

        return replace(self, columns=kept(self.columns), rows=tuple(map(kept, self.rows)))


def as_text(cell: Cell, kind: Kind) -> str:
    """Return a cell as one line of text; an interval as ``0.2500 [0.2000, 0.3000]``."""
    bounds = kind.format_bounds(cell.value)
    interval = f" [{bounds[0]}, {bounds[1]}]" if bounds else ""
    return f"{kind.format(cell.value)}{interval}{cell.suffix}"


def quote(text: str) -> str:
    """Return ``text`` in quotation marks, with Unicode isolates that keep right-to-left text inside the marks."""
    return f'"\u2068{text}\u2069"'


def notebook_html(tables: Iterable[Table], notes: Iterable[str] = ()) -> str:
    """Return tables and the notes below them as HTML for a notebook."""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return "".join(table._repr_html_() for table in tables) + (f"<ul>{items}</ul>" if items else "")


_NOTEBOOK_STYLE = (
    "<style>.encloze-table th, .encloze-table td { text-align: end; vertical-align: top }"
    " .encloze-table .words, .encloze-table tbody th { text-align: start }"
    " .encloze-table caption { text-align: start; font-weight: bold }"
    " .encloze-table .best { font-weight: bold }"
    " .encloze-table small { display: block; opacity: .7; white-space: nowrap }</style>"
)


def _cell(value: Value | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _number(value: Value) -> float | None:
    if isinstance(value, Interval):
        return value.mean
    return None if value is None or isinstance(value, str) else value


def _escape_markdown(text: str) -> str:
    return markdown(text).replace("|", r"\|")


def _words_class(kind: Kind) -> str:
    return ' class="words"' if kind.is_text else ""


def _html_cell(cell: Cell, kind: Kind, *, is_first: bool) -> str:
    bounds = kind.format_bounds(cell.value)
    interval = f"<small>{html.escape(f'{bounds[0]} to {bounds[1]}')}</small>" if bounds else ""
    content = html.escape(f"{kind.format(cell.value)}{cell.suffix}") + interval
    if is_first:
        return f'<th scope="row" dir="auto">{content}</th>'
    hint = f' title="{html.escape(cell.hint)}"' if cell.hint else ""
    if cell.heat is not None:
        tone = "bad" if cell.heat > 0 else "good"
        style = f"--tone: var(--{tone}); --depth: {min(abs(cell.heat), 0.6):.2f}"
        return f'<td class="heat" tabindex="0"{hint} style="{style}">{content}</td>'
    if cell.is_best:
        return f'<td class="best"{hint}>{content}</td>'
    attributes = ' class="words" dir="auto"' if kind.is_text else ""
    return f"<td{attributes}{hint}>{content}</td>"

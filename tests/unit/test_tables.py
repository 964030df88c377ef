"""Tables hold numbers and intervals, and render them as Markdown, HTML and data frames."""

from __future__ import annotations

import pytest

from encloze.errors import MissingExtraError
from encloze.intervals import Interval
from encloze.tables import Cell, Column, Kind, Table, as_text, notebook_html, quote

TABLE = Table(
    "Results | all",
    (
        Column("system", is_grouping=True),
        Column("nDCG@10", Kind.MEASURE),
        Column("gain", Kind.DIFFERENCE),
        Column("time", Kind.MILLISECONDS),
    ),
    (
        ("bm25", Interval(0.5, 0.25, 0.75), None, 1.25),
        ("a|b <i>", 0.75, Cell(Interval(0.25, -0.1, 0.6), heat=0.5, hint="a < b", suffix=" *"), None),
        ("a|b <i>", Cell(0.1, kind=Kind.SHARE), -0.25, None),
    ),
)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Kind.TEXT, "words", "words"),
        (Kind.TEXT, 3, "3"),
        (Kind.MEASURE, 0.12345, "0.1235"),
        (Kind.MEASURE, -0.00001, "0.0000"),
        (Kind.DIFFERENCE, -0.00001, "+0.0000"),
        (Kind.DIFFERENCE, -0.25, "-0.2500"),
        (Kind.P_VALUE, 0.00004, "0.0000"),
        (Kind.COUNT, 1234567, "1,234,567"),
        (Kind.SHARE, 0.125, "12%"),
        (Kind.STATISTIC, 9.87654, "9.877"),
        (Kind.STATISTIC, 12.34, "12.3"),
        (Kind.NUMBER, 1234567.0, "1.235e+06"),
        (Kind.MEBIBYTES, 0.005, "0.01"),
        (Kind.MEASURE, None, ""),
        (Kind.MEASURE, "none", "none"),
        (Kind.MEASURE, Interval(0.5, 0.4, 0.6), "0.5000"),
    ],
)
def test_values_are_formatted_by_their_kind(kind: Kind, value: object, text: str) -> None:
    assert kind.format(value) == text  # type: ignore[arg-type]


def test_an_interval_without_bounds_is_shown_as_such() -> None:
    cell = Cell(Interval(0.5, float("-inf"), float("inf")))
    assert as_text(cell, Kind.MEASURE) == "0.5000 [-inf, inf]"


def test_markdown_escapes_bars_and_aligns_numbers() -> None:
    assert TABLE.to_markdown().splitlines() == [
        "| system | nDCG@10 | gain | time |",
        "| --- | ---: | ---: | ---: |",
        "| bm25 | 0.5000 [0.2500, 0.7500] |  | 1.2 |",
        r"| a\|b &lt;i> | 0.7500 | +0.2500 [-0.1000, +0.6000] * |  |",
        r"| a\|b &lt;i> | 10% | -0.2500 |  |",
    ]


def test_html_escapes_text_and_hides_repeated_values_of_a_grouping_column() -> None:
    page = TABLE.to_html()
    assert page.count("a|b &lt;i&gt;") == 1 and "<i>" not in page
    assert "<td>0.5000<small>0.2500 to 0.7500</small></td>" in page
    assert 'title="a &lt; b" style="--tone: var(--bad); --depth: 0.50">+0.2500 *' in page
    assert TABLE._repr_html_().startswith('<div class="encloze-table">') and page in notebook_html([TABLE], ["a & b"])
    assert "<li>a &amp; b</li>" in notebook_html([TABLE], ["a & b"])


def test_the_best_values_are_marked_and_empty_columns_removed() -> None:
    best = TABLE.with_best("nDCG@10")
    assert [cell.is_best for cell, _ in (row[1] for row in best.cells())] == [False, True, False]
    assert 'class="best"' in best.to_html()
    first = Table("", TABLE.columns, TABLE.rows[:1])
    assert first.without_empty_columns().names == ("system", "nDCG@10", "time")
    assert first.with_best("nDCG@10") == first  # a single value is not the best
    assert TABLE.without_columns("gain", "time").names == ("system", "nDCG@10")


def test_a_data_frame_keeps_numbers_and_has_columns_for_bounds() -> None:
    pytest.importorskip("pandas")
    frame = TABLE.to_pandas()
    names = ["system", "nDCG@10", "nDCG@10 low", "nDCG@10 high", "gain", "gain low", "gain high", "time"]
    assert list(frame.columns) == names
    assert frame["nDCG@10"].tolist() == [0.5, 0.75, 0.1] and frame["nDCG@10 low"].isna().tolist() == [False, True, True]
    assert frame["gain high"].tolist()[1] == 0.6 and frame["time"].tolist()[0] == 1.25


def test_without_pandas_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'encloze\[pandas\]'"):
        TABLE.to_pandas()


def test_rows_must_have_a_value_for_each_column() -> None:
    with pytest.raises(ValueError, match="has 1 values for 2 columns"):
        Table("", (Column("a"), Column("b")), (("x",),))


def test_quotes_isolate_the_direction_of_the_text() -> None:
    assert quote("שלום") == '"\u2068שלום\u2069"'

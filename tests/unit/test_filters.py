"""Filters on the fields of documents: their syntax, and which documents they select."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data.field_columns import FieldColumns, SegmentedFields, write_field_columns
from encloze.data.filters import Filter
from encloze.data.records import Document
from encloze.errors import CheckpointError, RecipeError

LONG = 2**60 + 1
DOCUMENTS = [
    Document("a", "", "", fields={"year": 2020, "tags": ["x", "y"], "draft": False, "author": {"name": "Ada"}}),
    Document("b", "", "", fields={"year": "2021", "draft": True, "added": "2026-01-31", "reading time": 4.5}),
    Document("c", "", "", source="s", position=3, fields={"account": LONG, "tags": [["y"], {"kind": "z"}]}),
    Document("d", "", "", source="s", fields={"account": LONG + 1, "year": -1, "note": "2020 or so"}),
]


def columns_of(documents: list[Document], folder: Path) -> FieldColumns:
    write_field_columns(documents, folder / "fields.arrow")
    return FieldColumns(folder / "fields.arrow")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("year == 2020", "a"),
        ("2020 == year", "a"),
        ("year >= 2020", "ab"),
        ("2020 < year <= 2021", "b"),
        ("2021 > year", "ad"),
        ("year == -1", "d"),
        ("year != 2020", "bcd"),
        ("year not in (2020, 2021)", "cd"),
        ('year == "2021"', "b"),
        ('year == "2020"', ""),
        ('year in ["2021", 2020]', "ab"),
        ("year == None", "c"),
        ("year is not None", "abd"),
        ("draft", "b"),
        ("not draft", "acd"),
        ("draft == False", "a"),
        ("draft == 1", ""),
        ('"x" in tags', "a"),
        ('"y" in tags and not "x" in tags', "c"),
        ('tags == "y"', "ac"),
        ('"y" not in tags', "bd"),
        ('tags.kind == "z"', "c"),
        ('author.name == "Ada"', "a"),
        ('field("author.name") > "AA"', "a"),
        ('field("reading time") < 5', "b"),
        ('added >= "2026-01" and added < "2026-02"', "b"),
        ('added.startswith("2026")', "b"),
        ('note.startswith("2020 ")', "d"),
        ('source == "s" and not position == 3', "d"),
        ('id in ("a", "d", "z")', "ad"),
        ('year == 2020 or source == "s" and id == "c"', "ac"),
        (f"account == {LONG}", "c"),
        ("unknown == 1", ""),
        ("author == None", "bcd"),
        (f"account > {LONG}", "d"),
        (f"account != {LONG}", "abd"),
        (f"account == {LONG - 1}", ""),
        (f"-{LONG} < account <= {LONG}", "c"),
        ("year == +2020", "a"),
    ],
)
def test_an_expression_selects_documents(expression: str, expected: str, tmp_path: Path) -> None:
    passed = Filter(expression).evaluate(columns_of(DOCUMENTS, tmp_path).matches)
    assert "".join(document.id for document, passes in zip(DOCUMENTS, passed, strict=True) if passes) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"year": 2020}, [1, 0, 0, 0]),
        ({"tags": ["x", "z"], "draft": False}, [1, 0, 0, 0]),
        ({"year": None}, [0, 0, 1, 0]),
    ],
)
def test_a_mapping_compares_fields_with_values(value: dict[str, object], expected: list[int], tmp_path: Path) -> None:
    assert Filter.of(value).evaluate(columns_of(DOCUMENTS, tmp_path).matches).tolist() == [*map(bool, expected)]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("", "invalid syntax"),
        ("year = 2020", "invalid syntax"),
        ("year >", "invalid syntax"),
        ("((((", "was never closed"),
        ("year > draft", "draft is neither a text in quotation marks, a number, True, False nor None"),
        ("year > None", "only texts and numbers have an order"),
        ("year < True", "only texts and numbers have an order"),
        ("1 == 1", "1 == 1 does not compare a field with a constant"),
        ("year + 1 > 2", "does not compare a field with a constant"),
        ("len(tags) > 2", r"len\(tags\) > 2 does not compare a field with a constant"),
        ("(lambda: 1)", "is not the name of a field"),
        ("__import__('os').system('ls')", "is not the name of a field"),
        ("x in 5", "in needs a field, or a list of values that is not empty"),
        ("x in ()", "in needs a field, or a list of values that is not empty"),
        ("x.startswith(3)", "startswith takes one text"),
        ("field(3) == 1", "field takes one text"),
        ("x == 'a\0'", "null byte"),
        (f"x == {10**30}", "a number outside of 64 bits"),
        (f"x > -{10**400}", "a number outside of 64 bits"),
        ('class == "a"', r'invalid syntax.*field\("class"\)'),
        ("x == (1, 2)", "is neither a text"),
        ("[" * 150 + "]" * 150, r"\]\]\] \.\.\.' cannot be read"),
        ("(" * 300 + "x" + ")" * 300, "cannot be read"),
    ],
)
def test_another_syntax_is_refused_with_the_part_that_was_not_understood(expression: str, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault) as error:
        Filter(expression)
    assert "Write conditions such as: year >= 2020" in str(error.value)


@pytest.mark.parametrize("value", [{}, 3, {"year": object()}, {"year": [[1]]}])
def test_other_values_are_no_filters(value: object) -> None:
    with pytest.raises(RecipeError, match="filter"):
        Filter.of(value)  # type: ignore[arg-type]


def test_an_unknown_field_is_reported_with_a_similar_one(tmp_path: Path) -> None:
    fields = SegmentedFields([columns_of(DOCUMENTS, tmp_path)], [None])
    with pytest.raises(RecipeError, match="no document has the field 'yaer'; did you mean 'year'?"):
        fields.select(Filter("yaer == 2020"))
    assert not fields.select(Filter('source == "nobody"')).any()


def test_segments_leave_out_deleted_documents(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    parts = [columns_of(DOCUMENTS, tmp_path), columns_of(DOCUMENTS[1:2], tmp_path / "other")]
    fields = SegmentedFields(parts, [np.array([True, False, True, True]), None])
    assert fields.select(Filter("year >= 0")).tolist() == [True, False, False, True]
    assert [rows.tolist() for rows in fields.select_rows(Filter("year != 2020"))] == [[2, 3], [0]]
    assert [rows.tolist() for rows in fields.find(["d", "b", "unknown"])] == [[3], [0]]


VALUES = st.one_of(
    st.integers(-3, 3),
    st.integers(2**53 - 2, 2**53 + 2),
    st.sampled_from([str(2**53 + 1), 2.0**53, 2.0**60]),
    st.sampled_from(["a", "b", "-1", "2", "é", ""]),
    st.booleans(),
    st.floats(-2, 2, width=16),
)
OPERATIONS: dict[str, Callable[[object, object], bool]] = {
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


def kind_of(value: object) -> str:
    return "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def passes(value: object, operation: str, constant: object) -> bool:
    """Compare as the documentation says, without columns."""
    several = value if isinstance(value, list) else [] if value is None else [value]
    for one in several:
        candidates = [one]
        if isinstance(one, str) and re.fullmatch(r"-?\d+", one):
            candidates.append(int(one))
        if any(kind_of(c) == kind_of(constant) and OPERATIONS[operation](c, constant) for c in candidates):
            return True
    return False


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(st.none(), VALUES, st.lists(VALUES, max_size=3)), min_size=1, max_size=12),
    st.sampled_from(sorted(OPERATIONS)),
    VALUES,
)
def test_columns_equal_a_comparison_of_each_document(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], operation: str, constant: object
) -> None:
    if isinstance(constant, bool) and operation != "==":
        return
    documents = [Document(str(row), "", "", fields={"f": value}) for row, value in enumerate(values)]
    columns = columns_of(documents, tmp_path_factory.mktemp("columns"))
    found = Filter(f"f {operation} {constant!r}").evaluate(columns.matches)
    assert found.tolist() == [passes(value, operation, constant) for value in values]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    columns_of(DOCUMENTS, tmp_path)
    file = tmp_path / "fields.arrow"
    content = file.read_bytes()
    for damaged in (b"", content[:100], content[:-20], content.replace(b'"documents": "4"', b'"documents": "1"')):
        file.write_bytes(damaged)
        if damaged != content:
            with pytest.raises(CheckpointError, match=r"fields.arrow is damaged: .*Build the index again"):
                FieldColumns(file)
    schema = pa.schema([("row", pa.int32()), ("number", pa.float64()), ("text", pa.string())])
    for metadata, rows in (({"documents": "1", "columns": '[["a", "number"]]'}, [7]), ({}, [0]), (None, [0])):
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema.with_metadata(metadata)) as writer:
            batch = [pa.array(rows, pa.int32()), pa.array([1.0]), pa.nulls(1, pa.string())]
            writer.write_batch(pa.record_batch(batch, ["row", "number", "text"]))
        with pytest.raises(CheckpointError, match=r"fields.arrow is damaged"):
            FieldColumns(file)


def test_an_extra_field_with_the_name_of_a_part_of_documents_is_found_too(tmp_path: Path) -> None:
    documents = [Document("a", "", "", source="page", fields={"source": "wiki", "id": 7, "flag": "TRUE"})]
    columns = columns_of([*documents, Document("b", "", "")], tmp_path)
    for expression in ('source == "wiki"', 'source == "page"', "id == 7", 'id == "a"', "flag", "flag == True"):
        assert Filter(expression).evaluate(columns.matches).tolist() == [True, False]
    assert SegmentedFields([columns], [None]).find(["7", "b"])[0].tolist() == [1]  # ids, not fields with this name
    assert Filter.of({"id": np.int64(7)}).evaluate(columns.matches).tolist() == [True, False]

"""JSON files: contents of another type, and JSON that Python's parser refuses in ways of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import pytest

from encloze.errors import CheckpointError, EnclozeError
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.report import Report
from encloze.reporting.training_logs import read_curves
from encloze.storage.json_files import explain_damage, parse_json, read_json, read_json_log
from encloze.storage.json_shapes import shape_fault
from encloze.storage.provenance import read_inputs, read_versions
from encloze.storage.resumable_file import open_resumable_file

LONG = "9" * 5000
INVALID = {
    "an integer of 5,000 digits": (LONG, "an integer with more than 4,300 digits"),
    "an integer of 5,000 digits inside": (f'{{"a": [{LONG}]}}', "an integer with more than 4,300 digits"),
    "brackets": ("[" * 100_000, "too many nested brackets"),
    "an unpaired surrogate": (r'{"a": "\ud800"}', "unpaired surrogate"),
    "an unpaired surrogate as key": (r'{"\udfff": 1}', "unpaired surrogate"),
    "nothing": ("", "Expecting value at column 1"),
    "half an object": ('{\n"a": ', "Expecting value at line 2, column 6"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_json_is_one_kind_of_error(case: str, tmp_path: Path) -> None:
    text, message = INVALID[case]
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 100
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"a\.json is damaged: it is not valid JSON \({message}"):
        read_json(tmp_path / "a.json")
    (tmp_path / "log.jsonl").write_text(f"{{}}\n{text.replace(chr(10), ' ') or ' '}\n")
    with pytest.raises(CheckpointError, match=r"log\.jsonl is damaged: line 2 is not valid JSON"):
        list(read_json_log(tmp_path / "log.jsonl"))


def test_bytes_that_are_no_text_are_invalid() -> None:
    with pytest.raises(ValueError, match="not UTF-8 text"):
        parse_json(b"\xff")
    assert parse_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_json(r'"\ud800"', allow_surrogates=True) == "\ud800"


@pytest.mark.parametrize("content", ["[]", "1", "null", '"x"', "true"])
def test_a_file_without_an_object_is_damaged(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"a\.json is damaged: the file: expected an object, found"):
        read_json(tmp_path / "a.json")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(CheckpointError, match=r"a\.json cannot be read: Is a directory\. Make it readable"):
        read_json(tmp_path / "a.json")


class Point(NamedTuple):
    x: float
    label: str = ""


class Content(TypedDict):
    name: str
    points: list[Point]
    pairs: NotRequired[list[tuple[str, int]]]
    size: NotRequired[int | None]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"name": "a", "points": [{"x": 1}, {"x": 2.5, "label": "b"}], "pairs": [["a", 1]], "other": {}}, ""),
        ({"name": "a", "points": [], "size": None}, ""),
        ({"name": "a"}, "the file has no 'points'"),
        ({"name": 1, "points": []}, "name: expected text, found an integer"),
        ({"name": "a", "points": {}}, "points: expected a list, found an object"),
        ({"name": "a", "points": [{"x": 1}, {"label": "b"}]}, "points[1] has no 'x'"),
        ({"name": "a", "points": [{"x": True}]}, "points[0].x: expected a number, found true or false"),
        ({"name": "a", "points": [{"x": float("nan")}]}, "points[0].x: expected a number, found a number that is too"),
        ({"name": "a", "points": [{"x": 1, "y": 2}]}, "points[0] has an unknown field 'y'"),
        ({"name": "a", "points": [], "pairs": [["a"]]}, "pairs[0]: expected 2 items, found 1"),
        ({"name": "a", "points": [], "size": "big"}, "size: expected"),
        ({"name": "a", "points": [], "size": 2**63}, "size: expected"),
    ],
)
def test_values_are_compared_with_types(value: Any, fault: str) -> None:
    found = shape_fault(value, Content)
    assert found == fault or (fault and found.startswith(fault))


def test_an_incomplete_last_line_of_a_log_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert list(read_json_log(file)) == [{"step": 1}, {"step": 2}]
    assert not list(read_json_log(tmp_path / "none.jsonl"))


READERS: dict[str, Callable[[Path], Any]] = {
    "report.json": Report.load,
    "comparison.json": ComparisonTable.load,
    "inspection.json": Inspection.load,
    "inputs.json": read_inputs,
    "versions.json": read_versions,
    "log.jsonl": lambda folder: read_curves(folder / "log.jsonl"),
}


@pytest.mark.parametrize("content", ["[]", "1", '{"a": 1}', "[[]]", f'{{"a": {LONG}}}', "{"])
@pytest.mark.parametrize("name", READERS)
def test_result_files_of_another_shape_are_damaged(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"{content}\n")
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: "):
        READERS[name](tmp_path)


def test_damaged_progress_of_a_resumable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_text("1\n")
    (tmp_path / "a.progress").write_text(json.dumps({"items": "1", "bytes": 2}))
    with (
        pytest.raises(CheckpointError, match=r"a\.progress is damaged: items: expected an integer, found text"),
        open_resumable_file(tmp_path / "a"),
    ):
        pass


@pytest.mark.parametrize("error", [KeyError("a"), IndexError(), ValueError("b"), TypeError(), AttributeError("c")])
def test_errors_of_a_conversion_name_the_file(error: Exception) -> None:
    with (
        pytest.raises(EnclozeError, match=r"x\.tsv is damaged \(.*\)\. Restore it, or run"),
        explain_damage(Path("x.tsv")),
    ):
        raise error

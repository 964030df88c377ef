"""Any text becomes a file name that every file system accepts."""

from __future__ import annotations

from encloze.storage.file_names import file_name, file_names


def test_any_text_becomes_a_file_name() -> None:
    names = {"bm25": "bm25", "models/a b": "models-a-b", "..": "system", "": "system", "דגם 2": "דגם-2", "/x.": "x"}
    assert {text: file_name(text) for text in names} == names


def test_long_names_are_cut_and_stay_different() -> None:
    names = [file_name(f"{'ש' * 200} {end}") for end in "ab"]
    assert names[0] != names[1] and all(len(name.encode()) < 150 for name in names)


def test_equal_names_are_numbered() -> None:
    assert file_names(["x", "x-3", "x", "x", "x-2"]) == ["x", "x-3", "x-2", "x-4", "x-2-2"]

"""An index that is changed: by the command line, by processes that are killed, and while others search it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from encloze.cli.main import main

KILLS = os.environ.get("ENCLOZE_TEST_INDEX_KILLS", "500")
SECONDS = os.environ.get("ENCLOZE_TEST_INDEX_SECONDS", "60")
PROGRAM = Path(__file__).with_name("changed_index.py")


def run(*arguments: object) -> str:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not finished.returncode, finished.stderr
    return finished.stdout


def test_a_killed_change_is_whole_or_not_there(tmp_path: Path) -> None:
    assert "4 kills" in run("kills", tmp_path / "index", 4)


@pytest.mark.slow
def test_killed_changes_are_whole_or_not_there(tmp_path: Path) -> None:
    print(output := run("kills", tmp_path / "index", KILLS))
    assert f"{KILLS} kills" in output


@pytest.mark.slow
def test_readers_of_an_index_that_changes_are_never_wrong(tmp_path: Path) -> None:
    print(output := run("readers", tmp_path / "index", SECONDS))
    assert output.count("searches") == 2


def test_the_command_line_changes_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (
        ("first", [("a", "rivers flow", 2020), ("b", "rivers freeze", 2021)]),
        ("second", [("c", "rivers rise", 2022), ("b", "rivers fall", 2023)]),
    ):
        lines = (json.dumps({"id": id_, "text": text, "year": year}) for id_, text, year in rows)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    first, second, index = tmp_path / "first.jsonl", tmp_path / "second.jsonl", tmp_path / "index"

    def encloze(*arguments: object) -> tuple[int, str]:
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, " ".join(f"{output.out} {output.err}".split())

    assert encloze("index", "--corpus", first, "--indexes", "bm25", "--output", index)[0] == 0
    code, output = encloze("add", "--index", index, "--corpus", second)
    assert code == 2 and "1 of 2 documents are in the index" in output and "Use update to replace them" in output
    code, output = encloze("update", "--index", index, "--corpus", second)
    assert code == 0 and "1 document added, 1 document replaced, 3 documents now, in 1 segment" in output
    code, output = encloze("search", "--index", index, "rivers", "--filter", "2021 <= year < 2023")
    assert code == 0 and "rivers rise" in output and "rivers fall" not in output and "flow" not in output
    code, output = encloze("search", "--index", index, "rivers", "--filter", "yeer > 1")
    assert code == 2 and "no document has the field 'yeer'; did you mean 'year'?" in output
    code, output = encloze("delete", "a", "zz", "--index", index)
    assert code == 0 and "1 document deleted, 2 documents now" in output and "Not in the index: zz" in output
    (tmp_path / "ids.txt").write_text("b\n\n", encoding="utf-8")
    assert "1 document now" in encloze("delete", "--ids-file", tmp_path / "ids.txt", "--index", index)[1]
    assert "in 1 segment" in encloze("compact", index)[1]
    assert "1 document deleted, 0 documents now" in encloze("delete", "--filter", "year > 0", "--index", index)[1]
    assert "No document matches" in encloze("search", "--index", index, "rivers")[1]
    code, output = encloze("delete", "--index", index)
    assert code == 2 and "give the documents to delete by one of ids, ids_file and filter" in output
    assert "intact" in encloze("verify", index)[1]

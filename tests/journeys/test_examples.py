"""Every file in examples/ runs as a script, without arguments, offline, and without warnings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
EXPECTED_OUTPUT = {
    "evaluate_a_run": ("nDCG@10  0.5436", "RR@10  0.5000", "R@100  0.6667"),
    "search_your_text": ("run a function in the background", "Thread pools"),
}
"""Lines or parts of lines that each example prints."""


def run_example(file: Path, folder: Path, *arguments: Path) -> str:
    """Run a script in an empty folder and return what it prints."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "ENCLOZE_CACHE": str(folder / "cache")}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(file), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_example_has_an_expected_output() -> None:
    assert {file.stem for file in EXAMPLES} == EXPECTED_OUTPUT.keys()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_runs_as_a_script(file: Path, tmp_path: Path) -> None:
    output = run_example(file, tmp_path)
    for text in EXPECTED_OUTPUT[file.stem]:
        assert text in output


def test_a_given_run_is_evaluated(tmp_path: Path) -> None:
    (tmp_path / "mine.run").write_text("q1 Q0 d1 1 2.0 mine\n", encoding="utf-8")
    (tmp_path / "judgments.txt").write_text("q1 0 d1 1\n", encoding="utf-8")
    example = next(file for file in EXAMPLES if file.stem == "evaluate_a_run")
    assert "nDCG@10  1.0000" in run_example(example, tmp_path, tmp_path / "mine.run", tmp_path / "judgments.txt")

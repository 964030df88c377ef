"""The demo from its first step to its table, on fewer packages and with no pre-trained weights."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from encloze.cli.main import main
from encloze.commands import demo
from encloze.data.formats.python_docs import PythonDocs


@pytest.mark.slow
def test_the_demo_ends_with_its_table_and_a_searchable_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PythonDocs", functools.partial(PythonDocs, packages=("stdlib", "numpy")))
    monkeypatch.setattr(demo, "_LEAST_TRAINING_SECONDS", 5)
    output = tmp_path / "demo"
    assert main(["demo", "--backbone", "scratch", "--minutes", "1", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    for row in ("BM25", "fine-tuned only", "RetroMAE, then fine-tuned", "hybrid with BM25", "alone"):
        assert row in shown
    assert "MiniLM" not in shown
    figures = json.loads((output / "report" / "report.json").read_text())
    assert figures["queries"] > 50 and len(figures["systems"]) == 4
    page = output / "page" / "report.html"
    assert f"{page} shows all this" in shown.replace("\n", " ") and "hybrid with BM25" in page.read_text()
    assert "nDCG@10" in (output / "retromae-finetuned" / "README.md").read_text()
    assert main(["search", "--index", str(output / "index"), "read a zip archive"]) == 0
    assert " 1. " in capsys.readouterr().out
    assert main(["demo", "--backbone", "scratch", "--minutes", "1", "--output", str(output)]) == 2
    assert "exists already. Give --resume" in capsys.readouterr().err
    assert main(["demo", "--backbone", "scratch", "--minutes", "2", "--output", str(output), "--resume"]) == 2
    assert "was begun with other settings" in capsys.readouterr().err
    assert main(["demo", "--backbone", "scratch", "--minutes", "1", "--output", str(output), "--resume"]) == 0

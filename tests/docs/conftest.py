"""Inputs under the names that the documentation uses: my_texts, my_data, my_labels, minilm and others."""

from __future__ import annotations

from pathlib import Path

import pytest

import toys


def write_inputs(folder: Path) -> Path:
    """Write small inputs under the names that pages use for the reader's own files."""
    toys.write_dataset(folder / "my_data")
    toys.write_dataset(folder / "other_data")
    toys.write_labelled(folder / "my_labels")
    (folder / "my_texts").mkdir()
    for document in toys.documents():
        text = f"{document['title']}\n\n{document['text']}\n"
        (folder / "my_texts" / f"{document['_id']}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the reader's inputs, which is the current folder."""
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path

"""Inputs under the names that the documentation uses: my_texts, my_data, my_labels, minilm, retriever and others."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import toys
from encloze.cli.main import main

TRAINING = ["--training.epochs", "1", "--training.learning_rate", "1e-4"]
COMMANDS = {
    "adapted": ["pretrain", "--corpus", "my_texts", "--model", "minilm", "--objective", "retromae", *TRAINING],
    "retriever": ["finetune", "--dataset", "my_data", "--model", "adapted", *TRAINING],
    "classifier": ["finetune_classifier", "--dataset", "my_labels", "--model", "minilm", *TRAINING],
    "index": ["index", "--corpus", "my_texts", "--model", "retriever", "--indexes", "flat,bm25"],
    "report": ["evaluate", "--dataset", "my_data", "--systems", "bm25,minilm", "--split", "test"],
}
"""The commands that make the folders which pages take as made; ``--output`` is the name."""
NEEDS = {"retriever": ["adapted"], "index": ["retriever"]}


def write_inputs(folder: Path) -> None:
    """Write small inputs under the names that pages use for the reader's own files."""
    toys.write_dataset(folder / "my_data")
    toys.write_dataset(folder / "other_data")
    toys.write_labelled(folder / "my_labels")
    (folder / "my_texts").mkdir()
    for document in toys.documents():
        text = f"{document['title']}\n\n{document['text']}\n"
        (folder / "my_texts" / f"{document['_id']}.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the reader's inputs, which is the current folder."""
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def faulty_inputs(inputs: Path) -> Path:
    """The inputs, and files with the faults that the page on errors shows."""
    recipe = "max_tokns: 64\nobjective: retromea\ncorpus: my_texts\n"
    (inputs / "p.yaml").write_text(recipe, encoding="utf-8")
    (inputs / "broken.yaml").write_text("indexes: [bm25\n: x\n", encoding="utf-8")
    rows = ['{"_id": "1", "text": "a"}', '{"_id": "2", "body": "b"}', "no JSON", '{"_id": "1", "text": "c"}']
    (inputs / "faulty_data" / "qrels").mkdir(parents=True)
    (inputs / "faulty_data" / "corpus.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (inputs / "faulty_data" / "queries.jsonl").write_text("", encoding="utf-8")
    (inputs / "texts.jsonl").write_text('{"id": "1", "body": "a"}\n', encoding="utf-8")
    (inputs / "unknown").mkdir()
    (inputs / "unknown" / "x.bin").write_bytes(b"x")
    (inputs / "other.run").write_text("w Q0 river-history 1 1.0 other\n", encoding="utf-8")
    return inputs


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs and a tiny model by the names of two real ones; what commands make comes on demand."""
    folder = tmp_path_factory.mktemp("prepared")
    write_inputs(folder)
    toys.write_model(folder / "minilm")  # a local folder goes before the packaged model
    shutil.copytree(folder / "minilm", folder / "google-bert" / "bert-base-uncased")
    return folder


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that makes a folder the current one, with all inputs that a code names."""

    def make(code: str) -> Path:
        folder = tmp_path / "workspace"
        names = [name for name in COMMANDS if f'"{name}"' in code or f'"{name}/' in code]
        for name in names:
            with monkeypatch.context() as patch:
                patch.chdir(prepared)
                run_command(name)
        shutil.copytree(
            prepared, folder, ignore=lambda _, found: {name for name in COMMANDS if name in found} - {*names}
        )
        monkeypatch.chdir(folder)
        return folder

    return make


def run_command(name: str) -> None:
    """Make one of the prepared folders in the current folder, if it is not there."""
    for needed in NEEDS.get(name, []):
        run_command(needed)
    if not Path(name).exists():
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = main([*COMMANDS[name], "--output", name])
        assert code == 0, output.getvalue()

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
MINE = ["mine", "--dataset", "my_data", "--num_negatives", "3"]
RERANKER = ["finetune_reranker", "--dataset", "my_data", "--model", "minilm", "--negatives", "mined", *TRAINING]
EVALUATE = ["evaluate", "--dataset", "my_data", "--systems", "bm25,minilm", "--split", "test"]
SCORE = ["score", "--dataset", "my_data", "--model", "reranker", "--candidates", "rankings/runs/bm25.trec"]
COMMANDS = {
    "adapted": ["pretrain", "--corpus", "my_texts", "--model", "minilm", "--objective", "retromae", *TRAINING],
    "retriever": ["finetune", "--dataset", "my_data", "--model", "adapted", *TRAINING],
    "classifier": ["finetune_classifier", "--dataset", "my_labels", "--model", "minilm", *TRAINING],
    "index": ["index", "--corpus", "my_texts", "--model", "retriever", "--indexes", "flat,bm25"],
    "report": EVALUATE,
    "evaluation": EVALUATE,
    "mined": MINE,
    "negatives": MINE,
    "reranker": RERANKER,
    "my_reranker": RERANKER,
    "rankings": ["evaluate", "--dataset", "my_data", "--systems", "bm25", "--split", "dev"],
    "scores": [*SCORE, "--split", "dev", "--include_relevant", "false"],
}
"""The commands that make the folders which pages take as made; ``--output`` is the name."""
NEEDS = {
    "retriever": ["adapted"],
    "index": ["retriever"],
    "reranker": ["mined"],
    "my_reranker": ["mined"],
    "scores": ["reranker", "rankings"],
}


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
    endpoint = "{type: endpoint, url: 'https://example.org/v1', model: m, api_key_variable: MY_KEY}"
    theirs = f"corpus: my_texts\noutput: questions\ngenerator: {endpoint}\n"
    (inputs / "theirs.yaml").write_text(theirs, encoding="utf-8")
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
    for name in ("google-bert/bert-base-uncased", "my_encoder", "my_model"):
        shutil.copytree(folder / "minilm", folder / name)
    toys.write_writer(folder / "google" / "flan-t5-small")
    return folder


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that makes a new folder the current one, with all inputs that a code names."""

    def make(code: str) -> Path:
        wanted = [name for name in COMMANDS if f'"{name}"' in code or f'"{name}/' in code]
        wanted = [name for name in wanted if f'output="{name}"' not in code]  # the code makes it
        with monkeypatch.context() as patch:
            patch.chdir(prepared)
            for name in wanted:
                run_command(name)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for path in prepared.iterdir():
            if path.name in wanted or path.name not in COMMANDS:
                (folder / path.name).symlink_to(path)
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

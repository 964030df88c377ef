"""Contamination: queries and documents that splits share are counted and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encloze.cli.main import main
from encloze.commands.compare import Compare
from encloze.commands.inspect import Inspect
from encloze.data.contamination import Contamination, compare_splits
from encloze.data.formats.beir import Beir
from encloze.data.records import Judgment
from encloze.evaluation.comparison import ComparisonTable
from encloze.systems.bm25 import Bm25
from encloze.systems.run import RunFile

LONG = "which of the many ways to repair an old and broken violin by hand is the least costly one"


def test_queries_and_relevant_documents_are_compared_with_earlier_splits() -> None:
    queries = {"t1": LONG, "t2": "what is a comet", "e1": f"{LONG}?", "e2": LONG.replace("one", "way"), "e3": "other"}
    judgments = {
        "test": [Judgment("e1", "d1", 1), Judgment("e2", "d2", 1), Judgment("e3", "d3", 2), Judgment("e3", "d5", 0)],
        "train": [Judgment("t1", "d1", 1), Judgment("t2", "d4", 1), Judgment("t2", "d3", 0), Judgment("t2", "d5", 1)],
    }
    groups = {"d1": 0, "d2": 3, "d3": 2, "d4": 3, "d5": 4}
    assert compare_splits(judgments, queries, groups, 0.8) == [
        Contamination("train", "test", 3, [("e1", "t1"), ("e2", "t1")], 3, ["d1"], [("d2", "d4")])
    ]
    assert compare_splits(judgments, queries, groups, 1.0)[0].similar_queries == [("e1", "t1")]


def test_training_splits_come_before_evaluation_splits() -> None:
    judgments = {split: [Judgment("q", "d", 1)] for split in ("test", "dev", "train", "extra")}
    pairs = [(found.earlier, found.split) for found in compare_splits(judgments, {"q": "x"}, {"d": 0}, 0.8)]
    assert pairs[:3] == [("train", "dev"), ("train", "extra"), ("train", "test")]
    assert ("dev", "test") in pairs and len(pairs) == 6


def test_unknown_ids_are_ignored() -> None:
    judgments = {"train": [Judgment("gone", "lost", 1)], "test": [Judgment("gone too", "lost too", 1)]}
    assert compare_splits(judgments, {}, {}, 0.8) == [Contamination("train", "test", 0, [], 1, [], [])]


def test_a_comparison_reports_contamination(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (dataset / "queries.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"_id": "copy", "text": "Tell me about the river history!"}) + "\n")
    with (dataset / "qrels" / "test.tsv").open("a", encoding="utf-8") as stream:
        stream.write("copy\triver-history\t1\n")
    given = ["compare", "--dataset", str(dataset), "--systems", "bm25", "--output", str(tmp_path / "out")]
    assert main(given) == 0
    message = (
        "test compared with train: 1 of 11 queries are identical or nearly identical (copy ~ q-river-history); of 11"
    )
    assert message in " ".join(capsys.readouterr().out.split())
    again = ComparisonTable.load(tmp_path / "out")
    assert any(note.startswith(message) for note in again.notes) and len(again.contamination[0]) == 2
    assert Compare((Beir(dataset),), (Bm25(),), near_duplicate_threshold=None).run().contamination == ((),)
    run = RunFile(tmp_path / "out" / "toys" / "runs" / "bm25.trec")
    assert Compare((Beir(dataset),), (run,)).run().contamination == (
        (),
    )  # run files need neither queries nor documents


def test_inspect_reports_contamination(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = Inspect(corpus=Beir(dataset)).run().contamination
    assert [(found.earlier, found.split) for found in clean] == [("train", "dev"), ("train", "test"), ("dev", "test")]
    assert all(found.queries and not found.similar_queries and not found.shared_documents for found in clean)
    with (dataset / "queries.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"_id": "copy", "text": "Tell me about the river history!"}) + "\n")
    with (dataset / "qrels" / "test.tsv").open("a", encoding="utf-8") as stream:
        stream.write("copy\triver-history\t1\n")
    found = Inspect(corpus=Beir(dataset)).run().contamination[1]
    assert (found.queries, found.similar_queries, found.shared_documents) == (
        11,
        [("copy", "q-river-history")],
        ["river-history"],
    )
    assert main(["inspect", "--corpus", str(dataset)]) == 0
    output = capsys.readouterr().out
    assert (
        "test compared with train: 1 of 11 queries are identical or nearly identical (copy ~ q-river-history); of 11"
        in output
    )
    assert "1 are relevant in both splits" in output

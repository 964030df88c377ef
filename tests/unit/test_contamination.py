"""What splits give away about one another is counted and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encloze.cli.main import main
from encloze.commands.compare import Compare
from encloze.commands.inspect import Inspect
from encloze.data.contamination import Contamination, contamination
from encloze.data.formats.beir import Beir
from encloze.data.records import Judgment
from encloze.evaluation.comparison import ComparisonTable
from encloze.systems.bm25 import Bm25
from encloze.systems.run import RunFile

LONG = "which of the many ways to mend an old and broken violin by hand is the least costly one"


def test_queries_and_relevant_documents_are_held_against_earlier_splits() -> None:
    queries = {"t1": LONG, "t2": "what is a comet", "e1": f"{LONG}?", "e2": LONG.replace("one", "way"), "e3": "other"}
    judgments = {
        "test": [Judgment("e1", "d1", 1), Judgment("e2", "d2", 1), Judgment("e3", "d3", 2), Judgment("e3", "d5", 0)],
        "train": [Judgment("t1", "d1", 1), Judgment("t2", "d4", 1), Judgment("t2", "d3", 0), Judgment("t2", "d5", 1)],
    }
    groups = {"d1": 0, "d2": 3, "d3": 2, "d4": 3, "d5": 4}
    assert contamination(judgments, queries, groups, 0.8) == [
        Contamination("train", "test", 3, [("e1", "t1"), ("e2", "t1")], 3, ["d1"], [("d2", "d4")])
    ]
    assert contamination(judgments, queries, groups, 1.0)[0].alike == [("e1", "t1")]


def test_what_is_learnt_from_comes_before_what_is_judged() -> None:
    judgments = {split: [Judgment("q", "d", 1)] for split in ("test", "dev", "train", "extra")}
    pairs = [(found.earlier, found.split) for found in contamination(judgments, {"q": "x"}, {"d": 0}, 0.8)]
    assert pairs[:3] == [("train", "dev"), ("train", "extra"), ("train", "test")]
    assert ("dev", "test") in pairs and len(pairs) == 6


def test_ids_that_nothing_is_known_of_are_passed_over() -> None:
    judgments = {"train": [Judgment("gone", "lost", 1)], "test": [Judgment("gone too", "lost too", 1)]}
    assert contamination(judgments, {}, {}, 0.8) == [Contamination("train", "test", 0, [], 1, [], [])]


def test_a_comparison_tells_what_was_learnt_from_already(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (dataset / "queries.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"_id": "copy", "text": "Tell me about the river history!"}) + "\n")
    with (dataset / "qrels" / "test.tsv").open("a", encoding="utf-8") as stream:
        stream.write("copy\triver-history\t1\n")
    given = ["compare", "--dataset", str(dataset), "--systems", "bm25", "--output", str(tmp_path / "out")]
    assert main(given) == 0
    says = "test against train: 1 of 11 queries are the same or nearly (copy ~ q-river-history); of 11 relevant"
    assert says in " ".join(capsys.readouterr().out.split())
    again = ComparisonTable.load(tmp_path / "out")
    assert any(note.startswith(says) for note in again.notes) and len(again.contamination[0]) == 2
    assert Compare((Beir(dataset),), (Bm25(),), similarity=None).run().contamination == ((),)
    run = RunFile(tmp_path / "out" / "toys" / "runs" / "bm25.trec")
    assert Compare((Beir(dataset),), (run,)).run().contamination == ((),)  # it needs neither queries nor documents


def test_inspecting_names_what_the_splits_share(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = Inspect(corpus=Beir(dataset)).run().contamination
    assert [(found.earlier, found.split) for found in clean] == [("train", "dev"), ("train", "test"), ("dev", "test")]
    assert all(found.queries and not found.alike and not found.shared for found in clean)
    with (dataset / "queries.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"_id": "copy", "text": "Tell me about the river history!"}) + "\n")
    with (dataset / "qrels" / "test.tsv").open("a", encoding="utf-8") as stream:
        stream.write("copy\triver-history\t1\n")
    found = Inspect(corpus=Beir(dataset)).run().contamination[1]
    assert (found.queries, found.alike, found.shared) == (11, [("copy", "q-river-history")], ["river-history"])
    assert main(["inspect", "--corpus", str(dataset)]) == 0
    said = capsys.readouterr().out
    assert "test against train: 1 of 11 queries are the same or nearly (copy ~ q-river-history); of 11 relevant" in said
    assert "1 are relevant there, too" in said

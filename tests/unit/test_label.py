"""The command label: files of queries, pools that are continued, and the service behind the labeling page."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import served
from encloze.cli.main import main
from encloze.commands import label
from encloze.commands.evaluate import Evaluate
from encloze.commands.label import Label, LabelingResult
from encloze.data.query_file import read_query_file, text_id
from encloze.errors import CheckpointError, DataError, RecipeError, StorageError
from encloze.serving.keys import ApiKeys
from served import Client

QUERIES = ["the repair of a violin", "old comets", "where do rivers end"]
SYSTEMS = ["bm25", {"type": "bm25", "k1": 0.1, "b": 0.0, "title": "flat bm25"}]


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    (tmp_path / "queries.txt").write_text("\n".join(QUERIES))
    return tmp_path / "queries.txt"


@contextmanager
def labeling(monkeypatch: pytest.MonkeyPatch, requests: Any, **settings: Any) -> Iterator[LabelingResult]:
    """Run the command; ``requests`` is called with a client of its service, and then the service stops."""

    def serve(*arguments: Any) -> None:
        with served.serving_application(arguments[-1](ApiKeys(), ())) as client:
            requests(client)

    monkeypatch.setattr(label, "serve_http", serve)
    yield Label(systems=settings.pop("systems", SYSTEMS), **settings).run()


def judge_all(client: Client, grade: int = 1) -> None:
    """Give a grade to every document."""
    number: int | None = client.get("/v1/labeling").body["first"]
    while number is not None:
        found = client.get(f"/v1/labeling/queries/{number}").body
        grades = {document["id"]: grade for document in found["documents"]}
        assert client.post("/v1/labeling/grades", {"number": number, "grades": grades}).status == 200
        number = client.get("/v1/labeling").body["first"]


# Files of queries


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("queries.jsonl", '{"_id": "a", "text": "deep rivers"}\n{"id": "b", "query": "comets"}\n'),
        ("queries.tsv", "a\tdeep rivers\nb\tcomets\n"),
    ],
)
def test_queries_with_ids_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with gzip.open(tmp_path / f"{name}.gz", "wt") as stream:
        stream.write(content)
    for file in (tmp_path / name, tmp_path / f"{name}.gz"):
        assert read_query_file(file) == [("a", "deep rivers"), ("b", "comets")]


def test_queries_in_plain_text_get_ids_and_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("\ufeffold  rivers\n\ncomets\nold rivers \n", encoding="utf-8")
    assert read_query_file(tmp_path / "queries.txt") == [
        (text_id("old rivers"), "old rivers"), (text_id("comets"), "comets")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", "\n \n", "contains no query"),
        ("q.jsonl", '{"text": "x"}\n{"_id": "a", "text": ""}', "q.jsonl:1"),
        ("q.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}', "q.jsonl:2.*id of an earlier"),
        ("q.tsv", "a\tx\na\ty\n", "q.tsv:2.*id of an earlier"),
    ],
)
def test_faulty_files_of_queries_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_query_file(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_query_file(tmp_path / "none.txt")


# The command


def test_judgments_are_collected_continued_and_evaluated(
    dataset: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dataset": str(dataset), "queries": str(queries), "output": str(tmp_path / "labeled")}

    def judge_one(client: Client) -> None:
        found = client.get("/v1/labeling").body
        assert found["grades"][0] == "not relevant" and found["first"] == 0
        query = client.get("/v1/labeling/queries/0").body
        first = query["documents"][0]
        assert query["text"] in QUERIES and first["grade"] is None and first["text"]
        progress = client.post("/v1/labeling/grades", {"number": 0, "grades": {first["id"]: 3}}).body
        assert progress["judged"] == 1 and progress["complete_queries"] == 0 and progress["queries"] == 3
        assert client.get("/v1/labeling/queries/0").body["documents"][0]["grade"] == 3

    with labeling(monkeypatch, judge_one, **settings) as result:
        assert (result.judged, result.complete, result.queries) == (1, 0, 3)
    with labeling(monkeypatch, judge_all, **settings, grades=["no", "yes", "x", "y"]) as result:  # continued
        assert result.judged == result.documents and result.complete == 3
    settings_of_result = {"type": "generated_queries", "corpus": str(dataset), "path": str(result.folder)}
    report = Evaluate(dataset=settings_of_result, split="judged", systems=SYSTEMS).run()
    assert len(report.queries) == 3 and report.systems[0].values["nDCG@10"].mean() > 0.8
    assert set(report.queries) == {text_id(text) for text in QUERIES}


def test_judgments_of_a_split_are_taken_over(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"dataset": str(dataset), "split": "test", "output": str(tmp_path / "labeled"), "depth": 3}

    def look(client: Client) -> None:
        found = client.get("/v1/labeling").body["progress"]
        rows = [line.split("\t") for line in client.get("/v1/labeling/qrels").body.splitlines()]
        qrels = (dataset / "qrels" / "test.tsv").read_text().splitlines()[1:]
        assert sorted((query, id_, grade) for query, _, id_, grade in rows) == sorted(
            tuple(line.split("\t")) for line in qrels
        )
        assert found["judged"] <= len(qrels) and found["documents"] > found["judged"]

    with labeling(monkeypatch, look, **settings):
        pass


def test_other_settings_and_other_folders_are_refused(
    dataset: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dataset": str(dataset), "queries": str(queries), "output": str(tmp_path / "labeled")}
    with labeling(monkeypatch, judge_all, **settings):
        pass
    with (
        pytest.raises(CheckpointError, match=r"begun with other settings \(depth\)"),
        labeling(monkeypatch, judge_all, **settings, depth=5),
    ):
        pass
    with (
        pytest.raises(StorageError, match="judgments, which are not deleted"),
        labeling(monkeypatch, judge_all, **settings, depth=5, overwrite=True),
    ):
        pass
    settings["output"] = str(tmp_path / "other")
    for depth in (4, 5):
        with labeling(monkeypatch, lambda client: None, **settings, depth=depth, overwrite=True) as result:
            assert result.judged == 0
    with (
        pytest.raises(StorageError, match="exists already"),
        labeling(monkeypatch, judge_all, **{**settings, "output": str(dataset)}),
    ):
        pass


def test_other_queries_are_noticed(
    dataset: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dataset": str(dataset), "queries": str(queries), "output": str(tmp_path / "labeled")}
    with labeling(monkeypatch, judge_all, **settings):
        pass
    queries.write_text("\n".join(QUERIES[:2]))
    with pytest.raises(DataError, match="have changed since"), labeling(monkeypatch, judge_all, **settings):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"systems": []}, "systems is empty"),
        ({"grades": ["yes"]}, "from 2 to 10 different names"),
        ({"grades": ["yes", "yes"]}, "from 2 to 10 different names"),
        ({"split": "test", "queries": "q.txt"}, "Leave out queries or split"),
        ({"depth": 0}, "depth"),
    ],
)
def test_wrong_settings_are_refused(dataset: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Label(**{"dataset": str(dataset), "systems": ["bm25"], "output": "labeled", **settings})


def test_grades_without_a_name_and_missing_queries_are_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (dataset / "qrels" / "test.tsv").read_text().splitlines()
    (dataset / "qrels" / "test.tsv").write_text("\n".join([*rows[:-1], rows[-1][:-1] + "7"]))
    output = str(tmp_path / "labeled")
    with (
        pytest.raises(DataError, match="has the grade 7"),
        labeling(monkeypatch, judge_all, dataset=str(dataset), split="test", output=output),
    ):
        pass
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"id": "1", "text": "Rivers flow."}\n')
    with (
        pytest.raises(DataError, match="no queries"),
        labeling(monkeypatch, judge_all, dataset=str(texts), output=output),
    ):
        pass
    assert not (tmp_path / "labeled").exists()


# The service


def test_wrong_requests_store_nothing(
    dataset: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(client: Client) -> None:
        known = client.get("/v1/labeling/queries/0").body["documents"][0]["id"]
        for body, status in [
            ({"number": 0, "grades": {"nonsense": 1}}, 404),
            ({"number": 9, "grades": {known: 1}}, 404),
            ({"number": 0, "grades": {known: 4}}, 422),
            ({"number": 0, "grades": {known: -1}}, 422),
            ({"number": 0, "grades": {}}, 422),
            ({"number": -1, "grades": {known: 1}}, 422),
            ({"grades": {known: 1}}, 422),
        ]:
            found = client.post("/v1/labeling/grades", body)
            assert found.status == status and found.body["error"]["message"], body
        assert client.get("/v1/labeling/queries/9").status == client.get("/v1/labeling/queries/-1").status == 404
        assert client.get("/v1/labeling").body["progress"]["judged"] == 0
        assert client.get("/").status == client.get("/page/label.js").status == client.get("/health").status == 200

    with labeling(monkeypatch, ask, dataset=str(dataset), queries=str(queries), output=str(tmp_path / "labeled")):
        pass


def test_off_loopback_a_key_is_needed(
    dataset: Path, queries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--dataset", dataset, "--queries", queries, "--systems", "bm25", "--output", tmp_path / "labeled"]
    assert main(["label", *map(str, flags), "--host", "0.0.0.0"]) == 2
    assert "there are no API keys" in capsys.readouterr().err and not (tmp_path / "labeled").exists()

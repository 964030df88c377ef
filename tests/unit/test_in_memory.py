"""Data from memory: lists of dictionaries, data frames and datasets become the same collection as files do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from encloze import Corpus, Dataset, Document
from encloze.data.formats.beir import Beir
from encloze.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"id": "a", "title": "Rivers", "text": "They flow into the sea."},
    {"id": "b", "title": "", "text": "A violin has four strings."},
]
PAIRS: list[dict[str, Any]] = [
    {"anchor": "where do rivers end", "positive": "in the sea"},
    {"anchor": "what do rivers become", "positive": "in the sea"},
    {"anchor": "where do rivers end", "positive": "in a lake"},
]
HOLDERS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "list": list,
    "tuple": tuple,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
}
EVERY_HOLDER = pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())


@EVERY_HOLDER
def test_documents_in_memory_are_a_corpus(hold: Callable[[Any], Any]) -> None:
    for corpus in (Corpus.load(hold(ROWS)), Corpus.from_dicts(hold(ROWS))):
        assert list(corpus) == [
            Document("a", "Rivers", "They flow into the sea."),
            Document("b", "", "A violin has four strings."),
        ]


def test_records_strings_and_ids_by_position() -> None:
    records = [Document("x", "", "one", "source", 3), Document("y", "t", "two")]
    assert list(Corpus.load(records)) == records
    assert [(d.id, d.text) for d in Corpus.load(["one", "two"])] == [("0", "one"), ("1", "two")]
    assert [d.id for d in Corpus.from_dicts([{"text": "a"}, {"_id": 7, "text": "b"}])] == ["0", "7"]


def test_the_same_documents_are_the_same_corpus() -> None:
    first, second = Corpus.from_dicts(ROWS), Corpus.from_dicts(pd.DataFrame(ROWS))
    assert first.fingerprint == second.fingerprint and first.file == second.file
    assert Corpus.from_dicts(ROWS[:1]).fingerprint != first.fingerprint


def test_a_corpus_is_loaded_from_what_it_came_from(dataset: Path) -> None:
    corpus = Corpus.load(dataset)
    assert Corpus.load(str(dataset)).fingerprint == corpus.fingerprint == Corpus.load(Beir(dataset)).fingerprint
    assert Corpus.load(corpus) is corpus and len(Corpus.load(Dataset.load(dataset))) == 40
    assert corpus.inputs() == {"corpus": dataset}


def test_a_corpus_shows_itself(dataset: Path) -> None:
    corpus = Corpus.load(dataset)
    assert repr(corpus) == f"Corpus(40 documents from {dataset})"
    table = corpus.to_pandas()
    assert list(table.columns) == ["id", "title", "text", "source", "position"] and len(table) == 40
    assert "river-history" in corpus._repr_html_() and "&lt;b&gt;" in Corpus.load(["<b>"])._repr_html_()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([{"id": "a", "txt": "x"}, {"text": "y"}], r"documents\[0\] has no text \(its columns: id, txt\)"),
        ([{"text": 3}], r"documents\[0\] has no text"),
        ([1], r"documents\[0\]: expected a dictionary or a string, found int 1"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "a"),
        (3, "documents: expected rows .*found int 3"),
        (b"x", "documents: expected rows"),
        ("nowhere", "nowhere: there is no such file or folder"),
        ([], "no documents"),
    ],
)
def test_what_is_not_documents_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Corpus.load(source)


def test_nothing_is_stored_for_refused_documents(cache: Path) -> None:
    with pytest.raises(DataError):
        Corpus.from_dicts([{"text": "fine"}, {"title": "no text"}])
    assert [file for file in cache.rglob("*") if file.is_file()] == []


QRELS: dict[str, Any] = {
    "mapping": {"train": {"q": {"a": 2}}, "test": {"p": {"b": 1}}},
    "rows": {
        "train": [{"query-id": "q", "corpus-id": "a", "score": 2}],
        "test": pd.DataFrame([{"query": "p", "document": "b", "grade": 1}]),
    },
    "datasets": datasets.DatasetDict(
        train=datasets.Dataset.from_list([{"query-id": "q", "corpus-id": "a", "score": 2}]),
        test=datasets.Dataset.from_list([{"query-id": "p", "corpus-id": "b", "score": 1}]),
    ),
}


@pytest.mark.parametrize("qrels", QRELS.values(), ids=QRELS.keys())
@pytest.mark.parametrize(
    "queries", [{"q": "rivers", "p": "violins"}, [{"id": "q", "text": "rivers"}, {"_id": "p", "text": "violins"}]]
)
def test_a_data_set_from_memory(queries: Any, qrels: Any) -> None:
    data = Dataset.from_dicts(ROWS, queries, qrels)
    assert data.splits == ["test", "train"] and len(data.corpus) == 2
    assert {query.id: query.text for query in data.queries} == {"q": "rivers", "p": "violins"}
    assert data.split("train").judgments == {"q": {"a": 2}} and data.split("test").judgments == {"p": {"b": 1}}
    again = Dataset.load({"corpus": ROWS, "queries": queries, "qrels": qrels})
    assert again.path == data.path


def test_judgments_without_a_split_are_for_testing() -> None:
    assert Dataset.from_dicts(ROWS, {"q": "rivers"}, {"q": {"a": 1}}).splits == ["test"]
    rows = [{"query": "q", "document": "a", "grade": 1}]
    assert Dataset.from_dicts(ROWS, {"q": "rivers"}, rows).split("test").judgments == {"q": {"a": 1}}


@EVERY_HOLDER
def test_pairs_are_a_data_set(hold: Callable[[Any], Any]) -> None:
    for data in (Dataset.load(hold(PAIRS)), Dataset.from_pairs(hold(PAIRS))):
        assert data.splits == ["train"]
        texts = {document.id: document.text for document in data.corpus}
        questions = {query.id: query.text for query in data.queries}
        relevant = {
            questions[query]: {texts[document] for document in grades}
            for query, grades in data.split("train").judgments.items()
        }
        assert relevant == {
            "where do rivers end": {"in the sea", "in a lake"},
            "what do rivers become": {"in the sea"},
        }


def test_splits_of_pairs() -> None:
    pairs = datasets.DatasetDict(
        train=datasets.Dataset.from_list(PAIRS[:2]), validation=datasets.Dataset.from_list(PAIRS[2:])
    )
    data = Dataset.load(pairs)
    assert data.splits == ["dev", "train"] and len(data.split("dev").queries) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset.from_pairs([{"anchor": "x", "bad": "y"}]), r"train\[0\] has no column of a document .*bad"),
        (lambda: Dataset.from_pairs([{"positive": "y"}]), r"train\[0\] has no column of a query"),
        (lambda: Dataset.from_pairs([{"anchor": 3, "positive": "y"}]), "expected text in the column 'anchor'"),
        (lambda: Dataset.from_dicts(ROWS, [{"text": "x"}], {"test": {}}), r"queries\[0\] has no id"),
        (lambda: Dataset.from_dicts(ROWS, {"q": "x"}, [{"query": "q"}]), r"qrels\['test'\]\[0\] needs query-id"),
        (lambda: Dataset.load(ROWS), "has documents, but no queries with judgments .*Corpus.load"),
    ],
)
def test_what_is_not_a_data_set_is_refused(make: Callable[[], Dataset], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_a_data_set_folder(dataset: Path) -> None:
    data = Dataset.load(dataset)
    assert data.splits == ["dev", "test", "train"] and len(data.split("dev").queries) == 10
    assert repr(data) == f"Dataset({str(dataset)!r}, format='beir', splits=['dev', 'test', 'train'])"
    (dataset / "corpus.jsonl").write_text(json.dumps({"_id": "x", "text": "y"}) + "\n", encoding="utf-8")
    assert [document.id for document in Dataset.load(dataset).corpus] == ["x"]

"""Data from memory: lists of dictionaries, data frames and datasets become the same collection as files do."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from encloze import Corpus, Dataset, Document, Judgment, Query
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
    "arrow": pa.Table.from_pylist,
    "pandas": lambda rows: pytest.importorskip("pandas").DataFrame(rows),
    "polars": lambda rows: pytest.importorskip("polars").DataFrame(rows),
    "datasets": lambda rows: pytest.importorskip("datasets").Dataset.from_list(rows),
}
EVERY_HOLDER = pytest.mark.parametrize("hold", HOLDERS)


@EVERY_HOLDER
def test_documents_in_memory_are_a_corpus(hold: str) -> None:
    rows = HOLDERS[hold](ROWS)
    for corpus in (Corpus.load(rows), Corpus.from_dicts(rows)):
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
    first, second = Corpus.from_dicts(ROWS), Corpus.from_dicts(HOLDERS["pandas"](ROWS))
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
    assert list(table.columns) == ["id", "title", "text", "source", "position", "fields"] and len(table) == 40
    assert "river-history" in corpus._repr_html_() and "&lt;b&gt;" in Corpus.load(["<b>"])._repr_html_()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            [{"id": "a", "text": None}],
            r"documents\[0\] has no text \(its columns: id\)\. Name .* whose text is missing",
        ),
        ([{"id": "a", "txt": "x"}, {"text": "y"}], r"documents\[0\] has no text \(its columns: id, txt\)"),
        ([{"text": 3}], r"documents\[0\]: expected text in the column 'text', found int 3"),
        ([{"text": b"x"}], r"documents\[0\]: expected text in the column 'text', found bytes b'x'"),
        ([{"text": "\ud800"}], r"documents\[0\]: invalid text: unpaired surrogate '\\ud800'"),
        ([{"text": "x"}, {"id": "0", "text": "y"}], r"documents\[1\]: duplicate document id '0', which documents\[0\]"),
        ([{"id": "a\tb", "text": "x"}], r"documents\[0\].id: the id 'a\\tb' contains a tab or a line break"),
        ([{"id": ["a"], "text": "x"}], r"documents\[0\].id: expected text or a whole number, found list"),
        ([{"id": True, "text": "x"}], r"documents\[0\].id: expected text or a whole number, found bool"),
        ([{"title": ["a"], "text": "x"}], r"documents\[0\].title: expected text, found list"),
        ([{"position": "first", "text": "x"}], r"documents\[0\].position: expected a whole number, found str 'first'"),
        ([{"position": 2**70, "text": "x"}], r"documents\[0\].position: expected a whole number"),
        ({"one", "two"}, "documents: expected rows .*found set"),
        ("", "found an empty string"),
        ("a" * 5000, "cannot be read: File name too long"),
        ("a\0b", "there is no such file or folder"),
        ({"corpus": [], "queries": []}, "needs qrels too; it has corpus, queries"),
        ([1], r"documents\[0\]: expected a dictionary or a string, found int 1"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "a"),
        (3, "documents: expected rows .*found int 3"),
        (b"x", "documents: expected rows"),
        ("nowhere", "nowhere: there is no such file or folder"),
        ([], "the list of documents is empty"),
    ],
)
def test_what_is_not_documents_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Corpus.load(source)


def test_threads_may_make_the_same_corpus_at_once(cache: Path) -> None:
    rows = [{"id": str(number), "text": f"text {number}"} for number in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        corpora = list(pool.map(Corpus.from_dicts, [rows] * 16))
    assert {corpus.fingerprint for corpus in corpora} == {corpora[0].fingerprint} and len(corpora[0]) == 2000
    assert not [path for path in cache.rglob("*") if path.name.startswith(".")]


def test_missing_values_of_data_frames_are_left_out() -> None:
    nan = float("nan")
    rows = [
        {"id": 1.0, "title": nan, "text": "x", "source": nan, "position": 2.0},
        {"id": nan, "title": "T", "text": "y", "source": "s", "position": nan},
    ]
    expected = [Document("1", "", "x", None, 2), Document("1", "T", "y", "s", None)]
    with pytest.raises(DataError, match=r"documents\[1\]: duplicate document id '1'"):
        Corpus.from_dicts(rows)
    rows[1]["id"] = np.int64(7)
    for holder in (rows, HOLDERS["pandas"](rows)):
        assert list(Corpus.from_dicts(holder)) == [expected[0], expected[1]._replace(id="7")]


def test_a_dataset_dict_with_one_split_is_a_table() -> None:
    datasets = pytest.importorskip("datasets")

    def split(name: str, rows: list[dict[str, Any]]) -> Any:
        return datasets.DatasetDict({name: datasets.Dataset.from_list(rows)})

    for corpus in (Corpus.load(split("train", ROWS)), Corpus.from_dicts(split("corpus", ROWS))):
        assert [document.id for document in corpus] == ["a", "b"]
    queries = split("queries", [{"_id": "q", "text": "rivers"}])
    qrels = split("validation", [{"query-id": "q", "corpus-id": "a", "score": 1}])
    for data in (
        Dataset.from_dicts(split("corpus", ROWS), queries, qrels),
        Dataset.load({"corpus": split("corpus", ROWS), "queries": queries, "qrels": qrels}),
    ):
        assert data.split("dev").judgments == {"q": {"a": 1}} and len(data.queries) == 1


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas", "arrow"])
def test_the_output_format_of_a_dataset_does_not_matter(kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"id": 1, "text": "x"}, {"id": 2, "text": "y"}])
    assert [document.id for document in Corpus.load(rows.with_format(kind))] == ["1", "2"]


def test_a_corpus_from_a_relative_path_survives_a_change_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    corpus = Corpus.load("corpus.jsonl")
    monkeypatch.chdir(tmp_path.parent)
    assert corpus.inputs() == {"corpus": tmp_path / "corpus.jsonl"}
    assert Corpus.load(corpus.format).fingerprint == corpus.fingerprint


@pytest.mark.parametrize("content", [None, "not Arrow", {"text": ["x"]}])
def test_a_file_that_is_no_corpus_is_refused(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "corpus.arrow"
    if isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    elif content:
        table = pa.table(content)
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=r"corpus.arrow is not an Arrow file of documents .*Corpus.load"):
        Corpus(file)


def test_nothing_is_stored_for_refused_documents(cache: Path) -> None:
    with pytest.raises(DataError):
        Corpus.from_dicts([{"text": "fine"}, {"title": "no text"}])
    assert [file for file in cache.rglob("*") if file.is_file()] == []


def qrels_of(kind: str) -> Any:
    """Return the same judgments of two splits as a mapping, as rows, or as datasets."""
    if kind == "mapping":
        return {"train": {"q": {"a": 2}}, "test": {"p": {"b": 1}}}
    train = [{"query-id": "q", "corpus-id": "a", "score": 2}]
    if kind == "rows":
        return {"train": train, "test": HOLDERS["pandas"]([{"query": "p", "document": "b", "grade": 1}])}
    test = HOLDERS["datasets"]([{"query-id": "p", "corpus-id": "b", "score": 1}])
    return pytest.importorskip("datasets").DatasetDict(train=HOLDERS["datasets"](train), test=test)


@pytest.mark.parametrize("kind", ["mapping", "rows", "datasets"])
@pytest.mark.parametrize(
    "queries", [{"q": "rivers", "p": "violins"}, [{"id": "q", "text": "rivers"}, {"_id": "p", "text": "violins"}]]
)
def test_a_data_set_from_memory(queries: Any, kind: str) -> None:
    qrels = qrels_of(kind)
    data = Dataset.from_dicts(ROWS, queries, qrels)
    assert data.splits == ["test", "train"] and len(data.corpus) == 2
    assert {query.id: query.text for query in data.queries} == {"q": "rivers", "p": "violins"}
    assert data.split("train").judgments == {"q": {"a": 2}} and data.split("test").judgments == {"p": {"b": 1}}
    again = Dataset.load({"corpus": ROWS, "queries": queries, "qrels": qrels})
    assert again.path == data.path


@pytest.mark.parametrize("grade", [1, 1.0, "1", np.int64(1), np.float32(1)])
def test_grades_may_have_any_type_of_whole_number(grade: Any) -> None:
    rows = [Judgment("q", "a", grade)]
    for qrels in ({"q": {"a": grade}}, {"test": {"q": {"a": grade}}}, rows, {"test": rows}):
        data = Dataset.from_dicts(ROWS, [Query("q", "rivers")], qrels)
        assert data.split("test").judgments == {"q": {"a": 1}}


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ({"q": {"a": 0.5}}, r"qrels\['test'\]\['q'\]\['a'\]: score: expected a whole number, found float 0.5"),
        ({"test": {"q": {"a": True}}}, "expected a whole number, found bool True"),
        ({"test": {"q": ["a"]}}, r"qrels\['test'\]\['q'\]: expected grades by document id, .* found list"),
        ({"test": {"q": {"a\tb": 1}}}, "document id: the id 'a.*contains a tab or a line break"),
        ({"dev": {"q": {"a": 1}}, "validation": {"q": {"b": 1}}}, "two splits are read as 'dev'"),
        ({"../x": {"q": {"a": 1}}}, "expected the name of a split.*found str '../x'"),
        ({"x" * 300: {"q": {"a": 1}}}, "expected the name of a split"),
        ([{"query": float("nan"), "document": "a", "grade": 1}], r"qrels\['test'\]\[0\] needs query-id"),
    ],
)
def test_judgments_that_cannot_be_read_are_named(qrels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.from_dicts(ROWS, {"q": "rivers"}, qrels)


def test_judgments_without_a_split_are_for_testing() -> None:
    assert Dataset.from_dicts(ROWS, {"q": "rivers"}, {"q": {"a": 1}}).splits == ["test"]
    rows = [{"query": "q", "document": "a", "grade": 1}]
    assert Dataset.from_dicts(ROWS, {"q": "rivers"}, rows).split("test").judgments == {"q": {"a": 1}}


@EVERY_HOLDER
def test_pairs_are_a_data_set(hold: str) -> None:
    pairs = HOLDERS[hold](PAIRS)
    for data in (Dataset.load(pairs), Dataset.from_pairs(pairs)):
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
    train, validation = HOLDERS["datasets"](PAIRS[:2]), HOLDERS["datasets"](PAIRS[2:])
    data = Dataset.load(pytest.importorskip("datasets").DatasetDict(train=train, validation=validation))
    assert data.splits == ["dev", "train"] and len(data.split("dev").queries) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset.from_pairs([{"anchor": "x", "bad": "y"}]), r"train\[0\] has no column with a document .*bad"),
        (lambda: Dataset.from_pairs([{"positive": "y"}]), r"train\[0\] has no column with a query"),
        (lambda: Dataset.from_pairs([{"anchor": 3, "positive": "y"}]), "expected text in the column 'anchor'"),
        (lambda: Dataset.from_pairs([{"query": "x", "passage": "y", "label": 0}]), r"train\[0\]: the label is 0"),
        (lambda: Dataset.from_pairs([]), "there are no pairs"),
        (
            lambda: Dataset.from_dicts(ROWS, {"q": b"x"}, {"test": {}}),
            r"queries.*text: expected text, found bytes",
        ),
        (lambda: Dataset.from_dicts(ROWS, {"q": None}, {"test": {}}), r"queries\['q'\].text: expected text"),
        (lambda: Dataset(cast(Any, "my_data")), "expected a Format, found str 'my_data'. Open it with Dataset.load"),
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


def test_a_format_with_settings_is_opened(dataset: Path) -> None:
    file = dataset / "corpus.jsonl"
    corpus = Corpus.load({"type": "jsonl", "path": str(file), "title_field": "doc_id"})
    assert corpus[0].title == "river" and len(corpus) == 40
    with pytest.raises(DataError, match=r"jsonl\.titel_field: unknown setting; did you mean 'title_field'"):
        Corpus.load({"type": "jsonl", "path": str(file), "titel_field": "doc_id"})

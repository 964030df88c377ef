"""Extra fields of documents: which values are kept, and that they come back with corpora, indexes and hits."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from encloze.data.corpus import Corpus
from encloze.data.fields import FieldReader, read_fields
from encloze.data.formats.csv import Csv
from encloze.data.formats.jsonl import Jsonl
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.retrieval.retriever import Retriever

ROW = {
    "_id": "a",
    "title": "Lamp",
    "text": "A lamp.",
    "price": 9.5,
    "tags": ["home"],
    "maker": {"name": "Ö"},
    "in": True,
}
FIELDS = {"price": 9.5, "tags": ["home"], "maker": {"name": "Ö"}, "in": True}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC), "2026-01-31T12:00:00+00:00"),
        (decimal.Decimal("9.50"), 9.5),
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3),
        (np.bool_(True), True),
        (np.array([[1, 2]]), [[1, 2]]),
        ((1, "two"), [1, "two"]),
        ({1: None}, {"1": None}),
        (0, 0),
        (False, False),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_values_are_kept_as_json(value: Any, kept: Any) -> None:
    assert json.dumps(FieldReader(()).read({"x": value})) == json.dumps({"x": kept})


@pytest.mark.parametrize("value", [None, "", [], {}, (), float("nan"), np.float32("nan"), np.datetime64("NaT")])
def test_missing_and_empty_values_are_left_out(value: Any) -> None:
    assert FieldReader(()).read({"x": value}) == {}


@pytest.mark.parametrize("value", [b"x", float("inf"), 2**63, object(), [b"x"], json.loads("[" * 60 + "]" * 60)])
def test_other_values_are_left_out_with_one_warning_a_field(value: Any) -> None:
    reader = FieldReader(())
    with pytest.warns(UserWarning, match="values of the field 'x' are not kept") as warned:
        assert [reader.read({"x": value, "y": 1}) for _ in range(3)] == [{"y": 1}] * 3
    assert len(warned) == 1


def test_fields_of_files_and_of_data_in_memory_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "shop.jsonl").write_text(json.dumps(ROW))
    file, memory = Corpus.load(tmp_path / "shop.jsonl"), Corpus.from_dicts([ROW])
    assert (
        list(file) == list(memory) == list(Corpus.load(list(file))) == [Document("a", "Lamp", "A lamp.", fields=FIELDS)]
    )
    assert list(Corpus.load(list(file))) == list(file) and file[0].fields["maker"] == {"name": "Ö"}


def test_only_the_named_fields_are_kept(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("id,text,price,color\n1,A lamp.,9.5,\n2,A desk.,,red\n")
    assert [d.fields for d in Corpus.from_format(Csv(tmp_path / "shop.csv"))] == [{"price": "9.5"}, {"color": "red"}]
    few = Corpus.from_format(Csv(tmp_path / "shop.csv", kept_fields=("price",)))
    assert [document.fields for document in few] == [{"price": "9.5"}, {}]


def test_the_field_that_is_the_id_is_not_kept_twice(tmp_path: Path) -> None:
    (tmp_path / "shop.jsonl").write_text('{"sku": "x", "id": "y", "text": "A lamp."}')
    (document,) = Corpus.from_format(Jsonl(tmp_path / "shop.jsonl", id_field="sku"))
    assert document == Document("x", "", "A lamp.", fields={"id": "y"})


def test_hits_have_the_fields_of_their_documents(tmp_path: Path) -> None:
    Retriever.build(Corpus.from_dicts([ROW]), indexes=["bm25"], output=tmp_path / "index")
    hits = Retriever.load(tmp_path / "index").search("lamp")
    assert hits[0].fields == FIELDS and hits.records()[0]["fields"] == FIELDS


def test_files_from_before_extra_fields_are_read(tmp_path: Path) -> None:
    corpus = Corpus.from_documents([Document("a", "Lamp", "A lamp.")], tmp_path / "new.arrow")
    with pa.memory_map(str(corpus.file)) as source:
        table = pa.ipc.open_file(source).read_all().drop_columns(["fields"])
    with pa.OSFile(str(tmp_path / "old.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert list(Corpus(tmp_path / "old.arrow")) == list(corpus)


@pytest.mark.parametrize("text", ["[]", "{", '{"x": 1', "null"])
def test_damaged_fields_are_refused_with_the_file_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError):
        read_fields(text)
    corpus = Corpus.from_documents([Document("a", "", "x", fields={"n": 1})], tmp_path / "good.arrow")
    with pa.memory_map(str(corpus.file)) as source:
        table = pa.ipc.open_file(source).read_all()
    damaged = table.set_column(table.schema.get_field_index("fields"), "fields", [[text]])
    with pa.OSFile(str(tmp_path / "bad.arrow"), "wb") as sink, pa.ipc.new_file(sink, damaged.schema) as writer:
        writer.write_table(damaged)
    with pytest.raises(DataError, match=r"bad\.arrow is damaged: the fields of the document 'a'"):
        Corpus(tmp_path / "bad.arrow")[0]

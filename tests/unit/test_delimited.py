"""Tables: header rows, numbers of columns, quoted fields, several files, and the formats that read them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from encloze import progress
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.csv import Csv
from encloze.data.formats.jsonl import Jsonl
from encloze.data.formats.pairs import Pairs
from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.labels.base import LabelFormat
from encloze.data.labels.tsv import Tsv as LabelTsv
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, LabeledText, Query
from encloze.errors import DataError


class Notes(progress.Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def read(format_: Format) -> list[Document]:
    errors = ErrorCollector()
    documents = list(format_.documents(errors))
    errors.raise_if_any()
    return documents


def queries(format_: Format) -> list[Query]:
    errors = ErrorCollector()
    found = list(format_.queries(errors))
    errors.raise_if_any()
    return found


@pytest.mark.parametrize(
    "text",
    [
        "pid\tpassage\n7\tOne.\n",
        "ID\tText\n7\tOne.\n",
        "text\tid\nOne.\t7\n",
        "doc_id\tbody\n7\tOne.\n",
        "docid\turl\tbody\n7\thttp://a\tOne.\n",
        "7\tOne.\n",
        "7\t\tOne.\n",
        "7\thttp://a\t\tOne.\n",
        '"7"\t"One."\n',
    ],
)
def test_columns_of_documents_are_known_by_words_or_number(text: str, tmp_path: Path) -> None:
    (document,) = read(Tsv(put(tmp_path / "collection.tsv", text)))
    assert document[:3] == ("7", "", "One.") and document.fields in ({}, {"url": "http://a"})


def test_four_columns_are_those_of_ms_marco_documents(tmp_path: Path) -> None:
    file = put(tmp_path / "docs.tsv", "D1\thttps://a.b/c\tRivers\tThey flow.\n")
    assert read(Tsv(file)) == [Document("D1", "Rivers", "They flow.", fields={"url": "https://a.b/c"})]


def test_other_numbers_of_columns_need_a_header_row(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a\.tsv:1: expected 2 \(id, text\) or 3 .* or 4 .* found 5\. Name the columns"
    ):
        read(Tsv(put(tmp_path / "a.tsv", "1\t2\t3\t4\t5\n")))
    with pytest.raises(DataError, match=r"b\.tsv:2: expected 2 columns \(id, text\), found 3"):
        read(Tsv(put(tmp_path / "b.tsv", "1\tone\n2\ttwo\tthree\n")))
    file = put(tmp_path / "c.tsv", "x\tpid\ty\tpassage\tz\n1\t7\t2\tOne.\t3\n")
    with pytest.raises(DataError, match=r"c\.tsv:1: expected"):
        read(Tsv(file))  # neither the first word names the id, nor are all words known
    assert read(Tsv(file, text_field="passage", id_field="pid"))[0].fields == {"x": "1", "y": "2", "z": "3"}


def test_words_of_a_header_row_inside_a_file_are_data(tmp_path: Path) -> None:
    file = put(tmp_path / "a.tsv", "1\ttext\n2\tpassage\nx\tid\n")
    assert [document.text for document in read(Tsv(file))] == ["text", "passage", "id"]
    file = put(tmp_path / "queries.tsv", "1\ttopic\n2\tquery\n")
    assert [query.text for query in queries(Trec(file, topics=file))] == ["topic", "query"]


def test_quoted_fields_may_contain_tabs_and_line_breaks(tmp_path: Path) -> None:
    file = put(tmp_path / "a.tsv", 'id\ttext\n1\t"One\tand\n\ntwo, ""quoted""."\n2\tHe said "no".\n')
    assert read(Tsv(file)) == [
        Document("1", "", 'One\tand\n\ntwo, "quoted".'),
        Document("2", "", 'He said "no".'),
    ]


@pytest.mark.parametrize("line", ['2\t"Open and never closed', '2\t"No," he said, "not "now"."', '2\t"" is empty'])
def test_quotation_marks_that_are_not_csv_are_text(line: str, tmp_path: Path) -> None:
    file = put(tmp_path / "a.tsv", f'1\t"Whole."\n{line}\n3\t6" nails\n')
    assert [document.text for document in read(Tsv(file))] == ['"Whole."', line[2:], '6" nails']


def test_what_was_assumed_is_reported_once(tmp_path: Path) -> None:
    put(tmp_path / "collection.tsv", '1\t"One."\n')
    put(tmp_path / "queries.dev.tsv", "qid\tquery\n7\tone\n")
    with progress.use_listener(listener := Notes()):
        for _ in range(2):
            read(Tsv(tmp_path))
            assert queries(Tsv(tmp_path)) == [Query("7", "one")]
    assert listener.notes == [
        f"{tmp_path / 'collection.tsv'}: fields in quotation marks are quoted, as in CSV",
        f"{tmp_path / 'collection.tsv'}: no header row; the columns are id, text",
        f"{tmp_path / 'queries.dev.tsv'}: header row; the columns are qid (id), query (text)",
    ]


def test_all_matching_collections_are_read(tmp_path: Path) -> None:
    put(tmp_path / "collection.part1.tsv", "1\tone\n")
    put(tmp_path / "collection.part2.tsv.gz", "2\ttwo\n")
    put(tmp_path / "collection.tsv.md5", "no table")
    assert [document.id for document in read(Tsv(tmp_path))] == ["1", "2"]
    put(tmp_path / "collection.part1.tsv.gz", "1\tone\n")
    with pytest.raises(
        DataError, match=r"contains both collection\.part1\.tsv and collection\.part1\.tsv\.gz\. Remove"
    ):
        read(Tsv(tmp_path))


def test_other_collections_beside_that_of_beir_are_reported(tmp_path: Path) -> None:
    line = '{"_id": "a", "text": "x"}\n'
    put(tmp_path / "corpus.jsonl", line)
    put(tmp_path / "corpus-2.jsonl.gz", line)
    with progress.use_listener(listener := Notes()):
        assert len(read(Beir(tmp_path))) == 1
    assert listener.warnings == [
        f"{tmp_path}: only corpus.jsonl is read, not corpus-2.jsonl. Move all documents to one file"
    ]
    put(tmp_path / "corpus.jsonl.gz", line)
    with pytest.raises(DataError, match=r"contains both corpus\.jsonl and corpus\.jsonl\.gz"):
        read(Beir(tmp_path))


def test_split_names_with_dots_and_other_files_beside_the_judgments(tmp_path: Path) -> None:
    for name in ("dev.small.tsv", "test.tsv.gz", "test.tsv.bak"):
        put(tmp_path / "qrels" / name, "q\ta\t1\n")
        put(tmp_path / f"qrels.{name}", "q\t0\ta\t1\n")
    assert Beir(tmp_path).splits() == Tsv(tmp_path).splits() == ["dev.small", "test"]
    assert len(list(Beir(tmp_path).judgments("dev.small", ErrorCollector()))) == 1


# CSV


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz"])
def test_csv_files_are_recognized_and_read(name: str, tmp_path: Path) -> None:
    file = put(tmp_path / name, 'id,title,text,price\r\n7,"Nuts, bolts","For\r\nwood",3\r\n8,,Glue,4\r\n')
    assert read(Format.from_name(str(file))) == [  # type: ignore[arg-type]
        Document("7", "Nuts, bolts", "For\nwood", fields={"price": "3"}),
        Document("8", "", "Glue", fields={"price": "4"}),
    ]


def test_sources_and_positions_in_csv_files_may_be_empty(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", "id,text,doc_id,position\n1,One,book,3\n2,Two,,\n")
    assert read(Csv(file)) == [Document("1", "", "One", "book", 3), Document("2", "", "Two")]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_files_may_have_other_separators(separator: str, tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", f"id{separator}text\n7{separator}One, two\n")
    assert read(Csv(file)) == [Document("7", "", "One, two")]


def test_fields_of_csv_files_may_be_long(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", f'id,text\n7,"{"word " * 60_000}"\n')
    assert len(read(Csv(file))[0].text) == 300_000


def test_malformed_rows_of_csv_are_errors(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", 'id,text\n1,"one"x\n2,two,three\n3\n4,four\n5,"five\n')
    errors = ErrorCollector()
    assert [document.id for document in Csv(file).documents(errors)] == ["4"]
    assert [message.partition(": ")[0] for message in errors.messages] == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:6"]
    with pytest.raises(DataError, match=r"b\.csv:1: 2 columns have the name 'text'\. Rename all but one"):
        read(Csv(put(tmp_path / "b.csv", "id,text,text\n1,a,b\n")))


def test_a_missing_text_column_of_csv_is_an_error_that_names_the_longest_field(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", "sku,name,details,price\n1,Bolt,Holds wood to wood,3.5\n2,Nut,Fits,1\n")
    errors = ErrorCollector()
    assert not list(Csv(file).documents(errors))
    assert errors.messages[0] == (
        'a.csv:2: missing field "text" (fields: "sku", "name", "details", "price"). Set text_field to the field with '
        "the text, such as details (on the command line --corpus.text_field details, in Python "
        '{"type": "csv", "path": ..., "text_field": "details"})'
    )
    assert errors.messages[1] == 'a.csv:3: missing field "text" (fields: "sku", "name", "details", "price").'
    format_ = Csv(file, text_field="details", title_field="name", id_field="sku")
    assert read(format_)[0] == Document("1", "Bolt", "Holds wood to wood", fields={"price": "3.5"})


def test_a_text_that_is_null_is_an_error_of_its_own(tmp_path: Path) -> None:
    file = put(tmp_path / "a.jsonl", '{"id": "1", "text": null}\n{"id": null, "text": "x"}\n')
    errors = ErrorCollector()
    assert not list(Jsonl(file).documents(errors))
    assert errors.messages == [
        'a.jsonl:1: "text" is null, expected text. Give a text, or remove the row',
        'a.jsonl:2: "id" is null, expected text. Give a text, or remove the row',
    ]


# Pairs and labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "why?\tbecause\n"),
        ("a.tsv", "question\tanswer\nwhy?\tbecause\n"),
        ("a.tsv", "answer\tquery\nbecause\twhy?\n"),
        ("a.csv", 'id,anchor,positive\n1,why?,"because"\n'),
    ],
)
def test_pairs_are_read_from_tables(name: str, text: str, tmp_path: Path) -> None:
    pairs = Pairs(put(tmp_path / name, text))
    assert [document.text for document in read(pairs)] == ["because"]
    assert [query.text for query in queries(pairs)] == ["why?"]


@pytest.mark.parametrize("name", ["faq.jsonl", "faq.csv", "faq.tsv"])
def test_documents_without_judgments_suggest_the_format_pairs(name: str, tmp_path: Path) -> None:
    format_ = Format.from_name(str(put(tmp_path / name, "x")))
    with pytest.raises(DataError, match=rf"{name} contains no .* --dataset pairs --dataset\.path {tmp_path / name}"):
        list(format_.judgments("train", ErrorCollector()))


def test_labels_may_be_quoted_and_of_one_format_only(tmp_path: Path) -> None:
    put(tmp_path / "train.tsv", 'text\tlabel\n"a\tb"\tx\nlabel\ty\n')
    assert LabelTsv(tmp_path).read("train") == [LabeledText("a\tb", ("x",)), LabeledText("label", ("y",))]
    put(tmp_path / "test.jsonl", '{"text": "a", "label": "x"}\n')
    with pytest.raises(ValueError, match=r"has files of several formats \(\.jsonl, \.tsv\)\. Remove all but one"):
        LabelFormat.from_name(str(tmp_path))

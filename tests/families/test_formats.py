"""Formats: recognition, reading, and errors with file and line."""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import write_table

import toys
from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.generated_queries import GeneratedQueries
from encloze.data.formats.ir_datasets import IrDatasets
from encloze.data.formats.jsonl import Jsonl
from encloze.data.formats.mteb import Mteb
from encloze.data.formats.pairs import Pairs
from encloze.data.formats.passages import Passages
from encloze.data.formats.python_docs import PythonDocs
from encloze.data.formats.remote import Remote
from encloze.data.formats.text import Text
from encloze.data.formats.titles import Titles
from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.lines import MAX_SHOWN, ErrorCollector, read_lines
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.settings import plain


def put(file: Path, text: str | bytes, *, zipped: bool = False) -> Path:
    """Write a file; if ``zipped``, gzipped and with .gz appended to its name."""
    content = text.encode() if isinstance(text, str) else text
    file.parent.mkdir(parents=True, exist_ok=True)
    file = file.with_name(f"{file.name}.gz") if zipped else file
    file.write_bytes(gzip.compress(content) if zipped else content)
    return file


def rows(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def read(format_: Format) -> list[Document]:
    """Return the documents of a format without errors."""
    errors = ErrorCollector()
    documents = list(format_.documents(errors))
    errors.raise_if_any()
    return documents


def errors_of(reader: Callable[[ErrorCollector], object]) -> list[str]:
    """Return the messages of the errors that a reader records."""
    errors = ErrorCollector()
    list(reader(errors))  # type: ignore[call-overload]
    assert len(errors.messages) == min(errors.count, MAX_SHOWN)
    return errors.messages


def beir(folder: Path, *, zipped: bool) -> Path:
    return toys.write_dataset(folder, zipped=zipped)


def jsonl(folder: Path, *, zipped: bool) -> Path:
    return put(folder / "texts.jsonl", rows({"_id": "a", "text": "one"}), zipped=zipped)


def tsv(folder: Path, *, zipped: bool) -> Path:
    put(folder / "collection.tsv", "a\tone\n", zipped=zipped)
    return folder


def csv(folder: Path, *, zipped: bool) -> Path:
    return put(folder / "texts.csv", "id,text\na,one\n", zipped=zipped)


def parquet(folder: Path, *, zipped: bool) -> Path:
    folder.mkdir(parents=True)
    write_table(pa.table({"id": ["a"], "text": ["one"]}), folder / "texts.parquet")
    return folder if zipped else folder / "texts.parquet"


def hf_dataset(folder: Path, *, zipped: bool) -> Path:
    return toys.save_to_disk(folder, pa.table({"id": ["a"], "text": ["one"]}))


def trec(folder: Path, *, zipped: bool) -> Path:
    return put(folder / "qrels", "q 0 a 1\n", zipped=zipped)


def text(folder: Path, *, zipped: bool) -> Path:
    put(folder / "inner" / "a.md", "One paragraph.\n")
    return folder


SAMPLES = {
    "beir": beir,
    "jsonl": jsonl,
    "tsv": tsv,
    "csv": csv,
    "parquet": parquet,
    "hf_dataset": hf_dataset,
    "trec": trec,
    "text": text,
}
RECOGNIZED = [
    name
    for name in Format.members()
    if name not in ("python_docs", "titles", "passages", "pairs", "generated_queries", "ir_datasets", "mteb", "remote")
]  # the others are selected by name


# All formats


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", RECOGNIZED)
def test_formats_are_recognized(tmp_path: Path, name: str, zipped: bool) -> None:
    path = SAMPLES[name](tmp_path / "data", zipped=zipped)
    assert Format.recognize(path) is Format.member(name)
    member, values = Format.resolve_member(str(path), {})
    assert member(**{**values, "path": Path(values["path"])}).location() == path


@pytest.mark.parametrize("name", Format.members())
def test_missing_files_are_errors_that_name_the_location(tmp_path: Path, name: str) -> None:
    if name == "python_docs":
        format_: Format = PythonDocs(packages=("no_such_package",))
    elif name == "ir_datasets":
        format_ = IrDatasets("no/such/collection")
    elif name == "mteb":
        (tmp_path / "data").mkdir()
        format_ = Mteb("NFCorpus", path=tmp_path / "data")
    elif name == "remote":
        format_ = Remote(f"file://{tmp_path}/data")
    elif name == "titles":
        (tmp_path / "data").mkdir()
        format_ = Titles(Beir(tmp_path / "data"))
    elif name == "passages":
        (tmp_path / "data").mkdir()
        format_ = Passages(Beir(tmp_path / "data"))
    elif name == "generated_queries":
        (tmp_path / "data").mkdir()
        format_ = GeneratedQueries(Beir(tmp_path / "data"), tmp_path / "data")
    else:
        (tmp_path / "data").mkdir()
        format_ = Format.member(name)(path=tmp_path / "data")  # type: ignore[call-arg]
    for reader in (format_.documents, format_.queries, lambda errors: format_.judgments("dev", errors)):
        try:
            assert not list(reader(ErrorCollector()))
        except DataError as error:
            assert str(format_.location()) in str(error)


@pytest.mark.parametrize("name", RECOGNIZED)
def test_a_fingerprint_changes_with_settings_and_files(tmp_path: Path, name: str) -> None:
    path = SAMPLES[name](tmp_path / "data", zipped=False)
    format_ = Format.member(name)(path=path)  # type: ignore[call-arg]
    first = format_.fingerprint()
    assert format_.fingerprint() == first
    with format_.document_files()[0].open("ab") as stream:
        stream.write(b"other")
    assert format_.fingerprint() != first
    assert plain(format_)["type"] == name


# Titles


def titled(folder: Path) -> Titles:
    texts = [("River history", "River history: it flows."), ("Comets", "One word."), ("river  history", "It flows on.")]
    texts += [("Common name", f"Text {n}.") for n in range(6)]  # a title of too many texts
    texts += [(f"Subject number {n}", f"About {n} things.") for n in range(200)] + [
        ("", "No title."),
        ("All of it", ""),
    ]
    values = [{"_id": f"d{n}", "title": title, "text": text} for n, (title, text) in enumerate(texts)]
    return Titles(Format.from_name(str(put(folder / "texts.jsonl", rows(*values)))))  # type: ignore[arg-type]


def test_titles_are_queries_for_their_texts(tmp_path: Path) -> None:
    format_ = titled(tmp_path)
    documents = {document.id: document for document in read(format_)}
    assert not any(document.title for document in documents.values())
    assert documents["d0"].text == "it flows." and documents["d2"].text == "It flows on."
    queries = {query.id: query.text for query in format_.queries(ErrorCollector())}
    assert len(queries) == 201 and "River history" in queries.values()
    judged = {split: list(format_.judgments(split, ErrorCollector())) for split in format_.splits()}
    query_ids = {split: {judgment.query for judgment in split_judgments} for split, split_judgments in judged.items()}
    assert not query_ids["train"] & (query_ids["dev"] | query_ids["test"]) and not query_ids["dev"] & query_ids["test"]
    assert set().union(*query_ids.values()) == queries.keys()
    assert 140 < len(query_ids["train"]) < 180 and all(8 < len(query_ids[split]) < 35 for split in ("dev", "test"))
    river = next(id_ for id_, text in queries.items() if text == "River history")
    assert {j.document for split_judgments in judged.values() for j in split_judgments if j.query == river} == {
        "d0",
        "d2",
    }


# Pairs


def test_pairs_are_read_as_queries_and_documents(tmp_path: Path) -> None:
    values = [{"question": f"What is thing {n % 300}?", "answer": f"Answer {n}.", "title": "T"} for n in range(320)]
    values += [
        {"question": "what is  THING 0", "answer": "Answer 0.", "title": "T"},
        {"question": "New", "answer": "Answer 0."},
    ]
    format_ = Pairs(put(tmp_path / "faq.jsonl", rows(*values)))  # type: ignore[arg-type]
    documents = {document.id: document for document in read(format_)}
    assert len(documents) == 321  # the same answer with another title is another document
    queries = {query.id: query.text for query in format_.queries(ErrorCollector())}
    assert len(queries) == 301 and next(iter(queries.values())) == "What is thing 0?"
    judged = {split: list(format_.judgments(split, ErrorCollector())) for split in format_.splits()}
    query_ids = {split: {judgment.query for judgment in split_judgments} for split, split_judgments in judged.items()}
    assert sum(map(len, query_ids.values())) == 301 and set().union(*query_ids.values()) == queries.keys()
    assert 210 < len(query_ids["train"]) < 270 and min(len(query_ids["dev"]), len(query_ids["test"])) > 12
    first = {
        documents[j.document].text for some in judged.values() for j in some if queries[j.query] == "What is thing 0?"
    }
    assert first == {"Answer 0.", "Answer 300."}


@pytest.mark.parametrize("zipped", [False, True])
def test_pairs_in_two_columns(tmp_path: Path, zipped: bool) -> None:
    file = put(tmp_path / "faq.tsv", "why?\tbecause\nhow?\tso\n", zipped=zipped)
    format_ = Pairs(file)
    assert [document.text for document in read(format_)] == ["because", "so"]
    assert [query.text for query in format_.queries(ErrorCollector())] == ["why?", "how?"]


def test_malformed_pairs_are_errors_with_their_lines(tmp_path: Path) -> None:
    lines = [{"question": "why?", "answer": " "}, {"q": "how?", "answer": "so"}, {"question": "", "answer": "x"}]
    errors = ErrorCollector()
    assert not list(Pairs(put(tmp_path / "faq.jsonl", rows(*lines))).documents(errors))  # type: ignore[arg-type]
    assert errors.messages == [
        "faq.jsonl:1: the answer is empty",
        'faq.jsonl:2: missing field "question" (fields: "q", "answer"). Name the field with query_field',
        "faq.jsonl:3: the question is empty",
    ]
    with pytest.raises(DataError, match="pairs has no split 'valid'. Its splits are dev, test, train"):
        list(Pairs(tmp_path / "faq.jsonl").judgments("valid", ErrorCollector()))


def test_unused_titles_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "encloze")
    documents = [("River boats", "a text")] * 6 + [("Engines", "a text"), ("Old violins", "a text"), ("", "a text")]
    lines = [json.dumps({"_id": f"d{n}", "title": t, "text": text}) for n, (t, text) in enumerate(documents)]
    file = put(tmp_path / "many.jsonl", "\n".join(lines))
    assert len(list(Titles(Format.from_name(str(file))).queries(ErrorCollector()))) == 1
    said = (
        "1 titles are queries. 1 titles of fewer than 2 words are not, and 1 of more than 5 documents or without text"
    )
    assert said in caplog.text


# Removal of titles


@pytest.mark.parametrize(
    ("title", "text", "rest"),
    [
        (" Go ", "Go: a language", "a language"),
        ("Go", "Gopher tunnels", "Gopher tunnels"),
        ("Go", "GO", ""),
        ("", "it flows", "it flows"),
        ("İ", "i̇ flows", "i̇ flows"),  # the lower-case form has two characters
    ],
)
def test_a_title_is_removed_only_as_whole_words(title: str, text: str, rest: str, tmp_path: Path) -> None:
    file = put(tmp_path / "texts.jsonl", rows({"_id": "a", "title": title, "text": text}))
    (document,) = Titles(Format.from_name(str(file))).documents(ErrorCollector())
    assert document.text == rest


def test_fingerprint_and_errors_of_titles(tmp_path: Path) -> None:
    format_ = titled(tmp_path / "a")
    first = format_.fingerprint()
    assert first == Titles(format_.corpus).fingerprint() != replace(format_, min_words=1).fingerprint()
    put(tmp_path / "a" / "texts.jsonl", rows({"_id": "a", "title": "another one", "text": "x"}))
    assert format_.fingerprint() != first
    with pytest.raises(DataError, match=r"titles has no split 'valid'\. Its splits are dev, test, train"):
        list(format_.judgments("valid", ErrorCollector()))
    bare = put(tmp_path / "bare.jsonl", rows({"_id": "a", "text": "x"}))
    with pytest.raises(DataError, match=r"bare\.jsonl has no titles with 2 or more words\. Set title_field"):
        list(Titles(Format.from_name(str(bare))).queries(ErrorCollector()))
    with pytest.raises(ValueError, match="must be 1 or more"):
        Titles(format_.corpus, min_words=0)


# Recognition


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path / 'none'}: there is no such file or folder$"):
        Format.recognize(tmp_path / "none")
    with pytest.raises(
        DataError,
        match=r"pythondocs: there is no such file or folder \(and no format has this name; known formats: beir, csv",
    ):
        Format.recognize(Path("pythondocs"))


def test_an_unknown_format_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no known format \(the folder contains nothing\)\. Give .*BEIR"):
        Format.recognize(tmp_path)
    put(tmp_path / "photo.jpg", b"\xff\xd8")
    put(tmp_path / "table.csv", "a,b\n")
    with pytest.raises(DataError, match=r"\(the folder contains photo\.jpg, table\.csv\)"):
        Format.recognize(tmp_path)
    with pytest.raises(DataError, match=r"photo\.jpg has no known format\. Give"):
        Format.recognize(tmp_path / "photo.jpg")


def test_a_readme_beside_tables_is_not_read_in_place_of_them(tmp_path: Path) -> None:
    put(tmp_path / "README.md", "About these tables.")
    assert Format.recognize(tmp_path) is Text
    put(tmp_path / "data" / "table.csv", "id,text\n")
    with pytest.raises(DataError, match=r"has no known format \(the folder contains README\.md, data\)"):
        Format.recognize(tmp_path)
    put(tmp_path / "notes.md", "A text.")
    assert Format.recognize(tmp_path) is Text


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts\.jsonl: the file is empty"):
        Format.recognize(put(tmp_path / "texts.jsonl", ""))


def test_the_strictest_format_comes_first(tmp_path: Path) -> None:
    path = toys.write_dataset(tmp_path / "both")
    put(path / "README.md", "About this data set.")
    assert Format.recognize(path) is Beir
    put(tmp_path / "marco" / "collection.tsv", "a\tone\n")
    put(tmp_path / "marco" / "notes.txt", "Notes.")
    assert Format.recognize(tmp_path / "marco") is Tsv


# Lines


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_lines_have_locations_and_exclude_blank_lines_and_byte_order_marks(tmp_path: Path, zipped: bool) -> None:
    file = put(tmp_path / "a.txt", b"\xef\xbb\xbffirst\r\n\r\n   \nsecond  \nlast", zipped=zipped)
    assert list(read_lines(file)) == [
        (f"{file.name}:1", "first"),
        (f"{file.name}:4", "second  "),
        (f"{file.name}:5", "last"),
    ]


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_invalid_utf8_is_an_error_with_file_and_line(tmp_path: Path, zipped: bool) -> None:
    file = put(tmp_path / "a.tsv", "a\tfine\nb\tcafé\n".encode("latin-1"), zipped=zipped)
    with pytest.raises(DataError, match=rf"{file}:2: not UTF-8 text .*Convert the file to UTF-8"):
        read(Tsv(file))


@pytest.mark.parametrize("damage", ["cut", "noise", "no_gzip"])
def test_corrupt_gzip_data_is_an_error(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(rows(*({"_id": str(n), "text": f"text {n * n * n}"} for n in range(2000))).encode())
    broken = {"cut": whole[: len(whole) // 2], "noise": whole[:3000] + b"\0" * 50 + whole[3050:], "no_gzip": b"plain"}
    file = put(tmp_path / "a.jsonl.gz", broken[damage])
    with pytest.raises(DataError, match=rf"{file}:\d+: corrupt gzip data \(.*\)\. Download the file again"):
        list(read_lines(file))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_text_is_read_back_from_a_file_of_lines(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("lines") / "a.txt"
    file.write_bytes(("first\n" + "".join(f"{text}\n" for text in texts)).encode())
    assert [text for _, text in read_lines(file)] == ["first", *(text for text in texts if text.strip())]


def test_errors_above_the_limit_are_counted() -> None:
    errors = ErrorCollector()
    errors.raise_if_any()
    errors.add("a:1", "odd")
    with pytest.raises(DataError, match=r"^1 error:\n  a:1: odd$"):
        errors.raise_if_any()
    for number in range(2, MAX_SHOWN + 4):
        errors.add(f"a:{number}", "odd")
    with pytest.raises(DataError) as caught:
        errors.raise_if_any()
    message_lines = str(caught.value).splitlines()
    assert message_lines[0] == f"{MAX_SHOWN + 3} errors:" and message_lines[-1] == "  ... and 3 more"
    assert len(message_lines) == MAX_SHOWN + 2


# BEIR


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_beir_reads_documents_queries_and_judgments(tmp_path: Path, zipped: bool) -> None:
    format_ = Beir(toys.write_dataset(tmp_path / "toys", zipped=zipped))
    documents = read(format_)
    assert len(documents) == 40
    assert documents[5] == Document(
        "engine-structure",
        "engine structure",
        "A engine has many parts and every part of a engine must fit the others with great care.",
        "engine",
        1,
    )
    errors = ErrorCollector()
    assert next(iter(format_.queries(errors))) == Query("q-river-history", "tell me about the river history")
    assert next(iter(format_.judgments("dev", errors))) == Judgment("q-harbour-history", "harbour-history", 1)
    assert [len(list(format_.judgments(split, errors))) for split in format_.splits()] == [10, 10, 20]
    assert format_.splits() == ["dev", "test", "train"] and not errors.count


def test_beir_judgments_may_be_gzipped_and_have_a_header(tmp_path: Path) -> None:
    put(tmp_path / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore\nq\ta\t2\n", zipped=True)
    put(tmp_path / "qrels" / "test.tsv", "q\ta\t-1\nq\tb\t0\n")
    errors = ErrorCollector()
    assert list(Beir(tmp_path).judgments("dev", errors)) == [Judgment("q", "a", 2)]
    assert list(Beir(tmp_path).judgments("test", errors)) == [Judgment("q", "a", -1), Judgment("q", "b", 0)]
    assert Beir(tmp_path).splits() == ["dev", "test"] and not errors.count


def test_beir_reads_optional_titles_sources_and_positions(tmp_path: Path) -> None:
    put(
        tmp_path / "corpus.jsonl",
        rows({"_id": 7, "text": "x"}, {"_id": "b", "title": None, "text": "", "doc_id": 3, "position": 0}),
    )
    assert read(Beir(tmp_path)) == [Document("7", "", "x", None, None), Document("b", "", "", "3", 0)]


def test_malformed_lines_of_beir_are_errors(tmp_path: Path) -> None:
    put(
        tmp_path / "corpus.jsonl",
        '{"_id": "a", "text": "fine"}\n{"_id": "b", "text": \n["c"]\n{"_id": "d", "body": "x"}\n{"text": "x"}\n'
        '{"_id": "f", "text": 1.5}\n\n{"_id": "g", "text": "x", "position": "two"}\n{"_id": "h", "text": "fine"}\n',
    )
    assert errors_of(Beir(tmp_path).documents) == [
        "corpus.jsonl:2: invalid JSON: Expecting value at column 22",
        "corpus.jsonl:3: expected a JSON object, found list",
        'corpus.jsonl:4: missing field "text" (fields: "_id", "body").',
        'corpus.jsonl:5: missing field "_id" (fields: "text").',
        'corpus.jsonl:6: "text" must be text, found float',
        "corpus.jsonl:8: \"position\" must be a 64-bit integer, found 'two'",
    ]
    put(tmp_path / "queries.jsonl", '{"_id": "a"}\n{}\nnothing\n')
    assert [error.partition(": ")[0] for error in errors_of(Beir(tmp_path).queries)] == [
        "queries.jsonl:1",
        "queries.jsonl:2",
        "queries.jsonl:2",
        "queries.jsonl:3",
    ]


@pytest.mark.parametrize(
    "line",
    [r'{"_id": "a", "text": "half \ud83d of it"}', r'{"_id": "\uDC00", "text": "x"}', "[" * 100_000],
    ids=["half a character", "half an id", "brackets"],
)
def test_json_that_cannot_be_saved_is_an_error(tmp_path: Path, line: str) -> None:
    put(tmp_path / "corpus.jsonl", f'{{"_id": "fine", "text": "\\ud83d\\ude00"}}\n{line}\n')
    (error,) = errors_of(Beir(tmp_path).documents)
    assert error.startswith("corpus.jsonl:2: invalid ")


def test_a_position_of_more_than_64_bits_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "corpus.jsonl", rows({"_id": "a", "text": "x", "position": 2**63}))
    assert errors_of(Beir(tmp_path).documents)[0].startswith('corpus.jsonl:1: "position" must be a 64-bit integer')


def test_malformed_judgments_of_beir_are_errors(tmp_path: Path) -> None:
    put(tmp_path / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore\nq\ta\tgood\nq\ta\t1.5\nq\tb\t1\textra\n")
    assert errors_of(lambda errors: Beir(tmp_path).judgments("dev", errors)) == [
        "dev.tsv:2: the grade must be an integer from -10,000 to 10,000, found 'good'",
        "dev.tsv:3: the grade must be an integer from -10,000 to 10,000, found '1.5'",
        "dev.tsv:4: expected 3 columns, found 4. Separate all columns by tabs, or all by blanks",
    ]


def test_a_missing_split_of_beir_is_an_error_that_lists_the_splits(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"no judgments for the split 'tests' .*Its splits are: dev, test, train"):
        list(Beir(dataset).judgments("tests", ErrorCollector()))


# JSON Lines


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_jsonl_reads_ids_from_any_common_field(tmp_path: Path, zipped: bool) -> None:
    values = [
        {"_id": "a", "title": "T", "text": "one", "doc_id": "long", "position": 4},
        {"id": 2, "text": "two"},
        {"docid": "c", "text": "three"},
        {"text": "four"},
    ]
    file = put(tmp_path / "texts.jsonl", rows(*values), zipped=zipped)
    assert read(Jsonl(file)) == [
        Document("a", "T", "one", "long", 4),
        Document("2", "", "two"),
        Document("c", "", "three"),
        Document("3", "", "four"),
    ]


def test_jsonl_field_names_are_settings(tmp_path: Path) -> None:
    file = put(tmp_path / "texts.ndjson", rows({"key": "k", "head": "H", "body": "one", "id": "not me"}))
    format_ = Jsonl(file, text_field="body", title_field="head", id_field="key")
    assert Format.recognize(file) is Jsonl and read(format_) == [Document("k", "H", "one", fields={"id": "not me"})]


def test_malformed_lines_of_jsonl_are_errors_with_a_remedy(tmp_path: Path) -> None:
    file = put(tmp_path / "texts.jsonl", '{"id": "a", "title": "t", "body": "xyz"}\n"text"\n{"text": "x"\n')
    assert errors_of(Jsonl(file).documents) == [
        (
            'texts.jsonl:1: missing field "text" (fields: "id", "title", "body"). Set text_field to the field with the '
            "text, such as body (on the command line --corpus.text_field body, in Python "
            '{"type": "jsonl", "path": ..., "text_field": "body"})'
        ),
        "texts.jsonl:2: expected a JSON object, found str",
        "texts.jsonl:3: invalid JSON: Expecting ',' delimiter at column 13",
    ]
    file = put(tmp_path / "keyed.jsonl", rows({"key": "k", "text": "x"}, {"text": "y"}))
    assert errors_of(Jsonl(file, id_field="key").documents) == ['keyed.jsonl:2: missing field "key" (fields: "text").']


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(), st.text()).map(
            lambda each: tuple(part.encode("utf-8", "replace").decode() for part in each)
        ),
        unique_by=lambda each: each[0],
        max_size=6,
    )
)
@settings(max_examples=50, deadline=None)
def test_any_text_is_read_back_from_json_lines(
    tmp_path_factory: pytest.TempPathFactory, given_: list[tuple[str, str, str]]
) -> None:
    file = tmp_path_factory.mktemp("jsonl") / "texts.jsonl"
    for ascii_ in (True, False):
        values = [{"_id": id_, "title": title, "text": content} for id_, title, content in given_]
        file.write_bytes("".join(json.dumps(value, ensure_ascii=ascii_) + "\n" for value in values).encode())
        assert read(Jsonl(file)) == [Document(*each) for each in given_]


# MS MARCO


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_tsv_reads_ms_marco_files(tmp_path: Path, zipped: bool) -> None:
    put(tmp_path / "collection.tsv", "0\t\tone\n1\ta title\ttwo\n", zipped=zipped)
    put(tmp_path / "queries.dev.tsv", "7\tfirst query\n8\tsecond query\n", zipped=zipped)
    put(tmp_path / "queries.dev.small.tsv", "8\tsecond query\n", zipped=zipped)
    put(tmp_path / "qrels.dev.tsv", "7\t0\t1\t1\n8 0 0 2\n", zipped=zipped)
    put(tmp_path / "qrels.train.tsv", "7\t0\t0\t1\n", zipped=zipped)
    format_, errors = Tsv(tmp_path), ErrorCollector()
    assert read(format_) == [Document("0", "", "one"), Document("1", "a title", "two")]
    assert Counter(format_.queries(errors)) == Counter([Query("7", "first query"), Query("8", "second query")])
    assert list(format_.judgments("dev", errors)) == [Judgment("7", "1", 1), Judgment("8", "0", 2)]
    assert format_.splits() == ["dev", "train"] and not errors.count


def test_tsv_reads_a_single_file(tmp_path: Path) -> None:
    assert read(Tsv(put(tmp_path / "mine.tsv", "a\tone\nb\ttwo\n"))) == [
        Document("a", "", "one"),
        Document("b", "", "two"),
    ]


def test_malformed_lines_of_tsv_are_errors(tmp_path: Path) -> None:
    put(tmp_path / "collection.tsv", "0\tone\n1 two\n")
    put(tmp_path / "queries.dev.tsv", "7\tone thing\n")
    put(tmp_path / "queries.train.tsv", "8\tanother\nno tab\n7\tanother thing\n")
    put(tmp_path / "qrels.dev.tsv", "7\t0\t1\n7\t0\t1\tyes\n7\t0\tyes\n")
    format_ = Tsv(tmp_path)
    assert errors_of(format_.documents) == ["collection.tsv:2: expected 2 columns (id, text), found 1"]
    assert errors_of(format_.queries) == [
        "queries.train.tsv:2: expected 2 columns (id, text), found 1",
        "queries.train.tsv:3: the query id '7' already occurs with another text",
    ]
    assert errors_of(lambda errors: format_.judgments("dev", errors)) == [
        "qrels.dev.tsv:2: expected 3 columns, found 4. Separate all columns by tabs, or all by blanks",
        "qrels.dev.tsv:3: the grade must be an integer from -10,000 to 10,000, found 'yes'",
    ]
    with pytest.raises(DataError, match=r"has no file qrels\.test\.tsv for the split 'test' \(its splits are: dev\)"):
        list(format_.judgments("test", ErrorCollector()))


# TREC


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_trec_reads_the_same_judgments_for_any_split(tmp_path: Path, zipped: bool) -> None:
    format_ = Trec(put(tmp_path / "qrels", "1 0 doc-a 2\n1\t0\tdoc-b\t-1\n", zipped=zipped))
    for split in ("test", "dev"):
        assert list(format_.judgments(split, ErrorCollector())) == [
            Judgment("1", "doc-a", 2),
            Judgment("1", "doc-b", -1),
        ]


def test_malformed_lines_of_trec_are_errors_and_runs_are_not_recognized(tmp_path: Path) -> None:
    format_ = Trec(put(tmp_path / "qrels", "1 0 a 1\n1 0 b\n1 0 c relevant\n"))
    assert errors_of(lambda errors: format_.judgments("test", errors)) == [
        "qrels:2: expected 4 columns, found 3. Separate all columns by tabs, or all by blanks",
        "qrels:3: the grade must be an integer from -10,000 to 10,000, found 'relevant'",
    ]
    run = put(tmp_path / "bm25.run", "1 Q0 a 1 12.5 bm25\n")
    with pytest.raises(DataError, match="has no known format"):
        Format.recognize(run)
    with pytest.raises(DataError, match="contains no documents"):
        format_.documents(ErrorCollector())


# Text


def test_text_is_split_at_paragraphs_with_source_and_position(tmp_path: Path) -> None:
    put(tmp_path / "b" / "notes.txt", "one two three\n\nfour five\n \t\nsix seven eight nine\n\n\n\nten\n")
    put(tmp_path / "a.txt", "alone\nin two lines\n")
    put(tmp_path / "c.csv", "not,text\n")
    documents = read(Text(tmp_path, passage_words=5))
    assert documents == [
        Document("a.txt#0", "a", "alone\nin two lines", "a.txt", 0),
        Document("b/notes.txt#0", "notes", "one two three\n\nfour five", "b/notes.txt", 0),
        Document("b/notes.txt#1", "notes", "six seven eight nine\n\nten", "b/notes.txt", 1),
    ]


def test_a_heading_ends_a_passage_and_is_the_title_of_the_next(tmp_path: Path) -> None:
    file = put(
        tmp_path / "guide.md",
        "Before.\r\n\r\n# First part #\r\nRight below.\r\n\r\nMore.\r\n\r\n"
        "## Second\r\n\r\nLast.\r\n\r\n#no heading\r\n",
    )
    assert [(d.title, d.text, d.position) for d in read(Text(file))] == [
        ("guide", "Before.", 0),
        ("First part", "Right below.\n\nMore.", 1),
        ("Second", "Last.\n\n#no heading", 2),
    ]


def test_a_long_paragraph_is_one_passage(tmp_path: Path) -> None:
    file = put(tmp_path / "long.txt", "short\n\n" + "word " * 50 + "\n\nshort")
    assert [len(d.text.split()) for d in read(Text(file, passage_words=10))] == [1, 50, 1]


@given(
    st.lists(st.text("abä \n", max_size=30), max_size=8),
    st.integers(1, 10),  # from 11 on, single words are joined to their neighbors
)
@settings(max_examples=60, deadline=None)
def test_passages_contain_each_word_once_and_only_long_paragraphs_are_too_long(
    tmp_path_factory: pytest.TempPathFactory, paragraphs: list[str], limit: int
) -> None:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    content = "\n\n".join(paragraphs)
    file.write_text(content, encoding="utf-8")
    documents = read(Text(file, passage_words=limit))
    assert " ".join(d.text for d in documents).split() == content.split()
    for document in documents:
        assert document.text.strip()
        assert len(document.text.split()) <= limit or "\n\n" not in document.text
    assert [d.position for d in documents] == list(range(len(documents)))


def test_files_that_are_not_utf8_are_errors_and_others_are_read(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", "one\ntwo\ncafé\n".encode("latin-1"))
    put(tmp_path / "b.md", b"\xef\xbb\xbffine")
    put(tmp_path / "c.md", "über\n".encode("latin-1"))
    errors = ErrorCollector()
    assert [document.text for document in Text(tmp_path).documents(errors)] == ["fine"]
    assert errors.messages == [
        f"{tmp_path / 'a.txt'}:3: not UTF-8 text. Convert the file to UTF-8",
        f"{tmp_path / 'c.md'}:1: not UTF-8 text. Convert the file to UTF-8",
    ]


def test_passage_words_below_1_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="passage_words must be 1 or more, not 0"):
        Text(tmp_path, passage_words=0)


# Docstrings

BODY = "It takes {0} and gives back what anyone would expect of such a thing, with every {0} in its usual place."


def docstring(summary: str, word: str, body: str = BODY) -> str:
    return f'"""{summary}\n\n    {body.format(word)}\n    """'


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Write three packages, largest first, that raise if imported; one has a copy of a docstring of another."""
    words = "apple pear plum cherry quince medlar fig grape lemon melon".split()
    for package, part in (("fx_large", words[:6]), ("fx_middle", words[6:9]), ("fx_small", words[9:])):
        folder = tmp_path / "site" / package
        put(folder / "__init__.py", 'raise RuntimeError("imported")\n')
        functions = [
            f"def grow_{word}(x):\n    {docstring(f'Grow one {word} from a seed.', f'{word} {number}')}\n"
            for number, word in enumerate(part)
        ]
        put(folder / "garden.py", "raise RuntimeError('imported')\n" + "\n".join(functions))
    copied = docstring("Raise the fruit of a tree.", "apple 0").replace("It takes", "IT takes")
    put(tmp_path / "site" / "fx_small" / "copied.py", f"def raise_apple():\n    {copied}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return ("fx_large", "fx_middle", "fx_small")


def ids_by_split(packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Return the ids of the documents of each split; all of them are judged."""
    format_ = PythonDocs(packages=packages)
    return {
        split: {judged.document for judged in format_.judgments(split, ErrorCollector())} for split in format_.splits()
    }


def test_docstrings_are_read_without_importing_packages(packages: tuple[str, ...]) -> None:
    documents = {document.id: document for document in read(PythonDocs(packages=packages))}
    assert len(documents) == 11
    found = documents["fx_large.garden:grow_pear"]
    assert found == Document(
        "fx_large.garden:grow_pear", "fx_large.garden.grow_pear", BODY.format("pear 1"), "fx_large.garden", 2
    )
    assert not any(name.partition(".")[0] in packages for name in sys.modules)


def test_a_summary_is_the_query_for_the_rest_of_its_docstring(packages: tuple[str, ...]) -> None:
    format_ = PythonDocs(packages=packages)
    queries = {query.id: query.text for query in format_.queries(ErrorCollector())}
    assert queries["q:fx_large.garden:grow_apple"] == "Grow one apple from a seed."
    judged = [judgment for split in format_.splits() for judgment in format_.judgments(split, ErrorCollector())]
    assert Judgment("q:fx_middle.garden:grow_fig", "fx_middle.garden:grow_fig", 1) in judged
    assert {judgment.query for judgment in judged} == set(queries)
    texts = {document.id: document.text for document in read(format_)}
    assert not any(queries[judgment.query] in texts[judgment.document] for judgment in judged)


def test_packages_are_in_one_split_and_copies_in_that_of_the_original(packages: tuple[str, ...]) -> None:
    by_split = ids_by_split(packages)
    assert {id_.partition(".")[0] for id_ in by_split["train"] - {"fx_small.copied:raise_apple"}} == {"fx_large"}
    assert {id_.partition(".")[0] for id_ in by_split["test"]} == {"fx_middle"}
    assert by_split["dev"] == {"fx_small.garden:grow_melon"}
    assert "fx_small.copied:raise_apple" in by_split["train"]  # its body is in the train split
    with pytest.raises(DataError, match=r"python_docs has no split 'valid'\. Its splits are: dev, test, train"):
        list(PythonDocs(packages=packages).judgments("valid", ErrorCollector()))


def test_subset_selects_the_documents_of_some_splits(packages: tuple[str, ...]) -> None:
    by_split, whole = ids_by_split(packages), read(PythonDocs(packages=packages))
    train, others = (read(PythonDocs(packages=packages, subset=subset)) for subset in ("train", "held_out"))  # type: ignore[arg-type]
    assert {document.id for document in train} == by_split["train"]
    assert {document.id for document in others} == by_split["dev"] | by_split["test"]
    assert sorted(train + others) == sorted(whole)


def test_pretraining_reads_summaries_of_the_train_split_only(packages: tuple[str, ...]) -> None:
    by_split, format_ = ids_by_split(packages), PythonDocs(packages=packages)
    seen = {document.id: document.text for document in format_.pretraining_documents(ErrorCollector())}
    bodies = {document.id: document.text for document in read(format_)}
    assert seen.keys() == bodies.keys()
    for id_, text_ in seen.items():
        assert bodies[id_] in text_
        assert (text_ == bodies[id_]) == (id_ not in by_split["train"])
    assert seen["fx_large.garden:grow_plum"].startswith("Grow one plum from a seed.\n\n")


def test_private_short_and_nested_docstrings_tests_and_templates_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = docstring("Do this very thing well.", "thing")
    folder = tmp_path / "site" / "fx_odd"
    put(folder / "__init__.py", "")
    put(
        folder / "_impl.py",
        f"""
class Public:
    {whole}
    def method(self):
        {docstring("Call this method with care.", "method")}
        def inner():
            {docstring("Never seen by any reader.", "inner")}
    def _hidden(self):
        {docstring("Never seen by any reader.", "hidden")}
try:
    async def found():
        {docstring("Find it where it stands.", "found")}
except ImportError:
    pass
def short():
    '''Do this very thing well.

    Too short.'''
def no_summary():
    {docstring("Do.", "summary")}
def long_summary():
    {docstring("word " * 31, "word")}
def silent(): ...
""",
    )
    put(folder / "tests" / "test_it.py", f"def test():\n    {whole}\n")
    put(folder / "template.py", f"def {{name}}():\n    {whole}\n")
    put(folder / "escape.py", "def escape():\n    " + whole.replace("It takes", "It takes \\d") + "\n")
    put(folder / "null.py", "x = '\\0'\n" + "\0")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    documents = read(PythonDocs(packages=("fx_odd",)))
    assert {(document.id, document.title) for document in documents} == {
        ("fx_odd._impl:Public", "fx_odd.Public"),
        ("fx_odd._impl:Public.method", "fx_odd.Public.method"),
        ("fx_odd._impl:found", "fx_odd.found"),
        ("fx_odd.escape:escape", "fx_odd.escape.escape"),
    }


def test_a_summary_of_many_docstrings_or_of_several_splits_is_no_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def functions(summary: str, words: list[str]) -> str:
        return "\n".join(f"def f_{w}():\n    {docstring(summary, w, ' '.join([w] * 20))}" for w in words) + "\n"

    put(tmp_path / "site" / "fx_a" / "__init__.py", "")
    put(tmp_path / "site" / "fx_a" / "many.py", functions("Return the number of things.", list("abcdef")))
    put(tmp_path / "site" / "fx_a" / "few.py", functions("Return the sum of things.", list("ghijk")))
    put(tmp_path / "site" / "fx_a" / "both.py", functions("Return both of the things.", ["l"]))
    put(tmp_path / "site" / "fx_b" / "__init__.py", functions("Return both of the things.", ["m"]))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    format_ = PythonDocs(packages=("fx_a", "fx_b"))
    assert [query.text for query in format_.queries(ErrorCollector())] == ["Return the sum of things."]
    (split,) = [split for split in format_.splits() if list(format_.judgments(split, ErrorCollector()))]
    assert len(list(format_.judgments(split, ErrorCollector()))) == 5


def test_rulers_are_removed_from_summaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "==========\nPlants --- and where they grow\n==========\n\n" + BODY.format("plants")
    put(tmp_path / "site" / "fx_ruled" / "__init__.py", f"{text!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (query,) = PythonDocs(packages=("fx_ruled",)).queries(ErrorCollector())
    assert query.text == "Plants --- and where they grow"


def test_a_missing_package_is_an_error() -> None:
    with pytest.raises(DataError, match=r"the package 'no_such_package' is not installed\. Install it, or remove it"):
        read(PythonDocs(packages=("no_such_package",)))


def test_a_package_without_docstrings_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "site" / "fx_silent" / "__init__.py", "x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DataError, match="no docstrings were found in fx_silent"):
        read(PythonDocs(packages=("fx_silent",)))


def test_docstrings_are_extracted_once(packages: tuple[str, ...], cache: Path) -> None:
    first = read(PythonDocs(packages=packages))
    (cached,) = (cache / "python_docs").glob("*.json")
    modified = cached.stat().st_mtime_ns
    assert read(PythonDocs(packages=packages)) == first and cached.stat().st_mtime_ns == modified
    assert len(read(PythonDocs(packages=packages[:1]))) < len(first)
    assert len(list((cache / "python_docs").glob("*.json"))) == 2


# Generated queries


def test_generated_queries_combines_a_corpus_with_queries(tmp_path: Path) -> None:
    corpus, queries = titled(tmp_path / "texts"), toys.write_dataset(tmp_path / "toys")
    (queries / "corpus.jsonl").unlink()
    data = recipe.build(
        Holder, {"data": {"type": "generated_queries", "corpus": plain(corpus), "path": str(queries)}}
    ).data
    assert data == GeneratedQueries(corpus, queries)
    assert read(data) == read(corpus) and data.splits() == ["dev", "test", "train"] and data.location() == queries
    assert list(data.pretraining_documents(ErrorCollector())) == list(corpus.pretraining_documents(ErrorCollector()))
    assert list(data.queries(ErrorCollector())) == list(Beir(queries).queries(ErrorCollector()))
    assert list(data.judgments("dev", ErrorCollector())) == list(Beir(queries).judgments("dev", ErrorCollector()))


def test_the_cached_corpus_does_not_depend_on_the_queries(tmp_path: Path) -> None:
    dataset = toys.write_dataset(tmp_path / "toys")
    corpus = Beir(dataset)
    assert Corpus.from_format(GeneratedQueries(corpus, dataset)).file == Corpus.from_format(corpus).file
    put(dataset / "corpus.jsonl", rows({"_id": "a", "text": "one"}))
    assert len(Corpus.from_format(GeneratedQueries(corpus, dataset))) == 1


def test_missing_queries_are_an_error_only_when_they_are_read(tmp_path: Path) -> None:
    data = GeneratedQueries(Beir(toys.write_dataset(tmp_path / "toys")), tmp_path / "nowhere")
    assert len(read(data)) == 40
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        list(data.queries(ErrorCollector()))


@dataclass(frozen=True)
class Holder:
    """A recipe with a data set."""

    data: Format

"""Every format reads what it should, is recognised by looking, and names what is wrong by file and line."""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.generated_queries import Asked
from encloze.data.formats.ir_datasets import IrDatasets
from encloze.data.formats.jsonl import Jsonl
from encloze.data.formats.mteb import Mteb
from encloze.data.formats.pairs import Pairs
from encloze.data.formats.python_docs import PythonDocs
from encloze.data.formats.text import Text
from encloze.data.formats.titles import Titles
from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.lines import SHOWN, Faults, lines
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.settings import plain


def put(file: Path, text: str | bytes, *, zipped: bool = False) -> Path:
    """A file with so much in it, gzipped (and so named) where asked."""
    content = text.encode() if isinstance(text, str) else text
    file.parent.mkdir(parents=True, exist_ok=True)
    file = file.with_name(f"{file.name}.gz") if zipped else file
    file.write_bytes(gzip.compress(content) if zipped else content)
    return file


def rows(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def read(format_: Format) -> list[Document]:
    """The documents of a format that has no faults."""
    faults = Faults()
    documents = list(format_.documents(faults))
    faults.stop()
    return documents


def wrong(work: Callable[[Faults], object]) -> list[str]:
    """The faults that some reading finds."""
    faults = Faults()
    list(work(faults))  # type: ignore[call-overload]
    assert len(faults.shown) == min(faults.count, SHOWN)
    return faults.shown


def beir(folder: Path, *, zipped: bool) -> Path:
    return toys.write_dataset(folder, zipped=zipped)


def jsonl(folder: Path, *, zipped: bool) -> Path:
    return put(folder / "texts.jsonl", rows({"_id": "a", "text": "one"}), zipped=zipped)


def tsv(folder: Path, *, zipped: bool) -> Path:
    put(folder / "collection.tsv", "a\tone\n", zipped=zipped)
    return folder


def trec(folder: Path, *, zipped: bool) -> Path:
    return put(folder / "qrels", "q 0 a 1\n", zipped=zipped)


def text(folder: Path, *, zipped: bool) -> Path:
    put(folder / "inner" / "a.md", "One paragraph.\n")
    return folder


SAMPLES = {"beir": beir, "jsonl": jsonl, "tsv": tsv, "trec": trec, "text": text}
AT_A_PLACE = [
    name
    for name in Format.members()
    if name not in ("python_docs", "titles", "pairs", "generated_queries", "ir_datasets", "mteb")
]  # the others are chosen by name


# Every member


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", AT_A_PLACE)
def test_a_format_is_recognised_by_looking(tmp_path: Path, name: str, zipped: bool) -> None:
    place = SAMPLES[name](tmp_path / "place", zipped=zipped)
    assert Format.recognised(place) is Format.member(name)
    member, values = Format.chosen(str(place), {})
    assert member(**{**values, "path": Path(values["path"])}).place() == place


@pytest.mark.parametrize("name", Format.members())
def test_a_format_that_lacks_something_says_so_with_its_place(tmp_path: Path, name: str) -> None:
    if name == "python_docs":
        format_: Format = PythonDocs(packages=("no_such_package",))
    elif name == "ir_datasets":
        format_ = IrDatasets("no/such/collection")
    elif name == "mteb":
        (tmp_path / "place").mkdir()
        format_ = Mteb("NFCorpus", path=tmp_path / "place")
    elif name == "titles":
        (tmp_path / "place").mkdir()
        format_ = Titles(Beir(tmp_path / "place"))
    elif name == "generated_queries":
        (tmp_path / "place").mkdir()
        format_ = Asked(Beir(tmp_path / "place"), tmp_path / "place")
    else:
        (tmp_path / "place").mkdir()
        format_ = Format.member(name)(path=tmp_path / "place")  # type: ignore[call-arg]
    for reading in (format_.documents, format_.queries, lambda faults: format_.judgments("dev", faults)):
        try:
            assert not list(reading(Faults()))
        except DataError as error:
            assert str(format_.place()) in str(error)


@pytest.mark.parametrize("name", AT_A_PLACE)
def test_a_fingerprint_changes_with_settings_and_files(tmp_path: Path, name: str) -> None:
    place = SAMPLES[name](tmp_path / "place", zipped=False)
    format_ = Format.member(name)(path=place)  # type: ignore[call-arg]
    first = format_.fingerprint()
    assert format_.fingerprint() == first
    put(place.parent / place.name if place.is_file() else place / "more.txt", "other")
    assert format_.fingerprint() != first
    assert plain(format_)["type"] == name


# Titles


def titled(folder: Path) -> Titles:
    held = [("River history", "River history: it flows."), ("Comets", "One word."), ("river  history", "It flows on.")]
    held += [("Common name", f"Text {n}.") for n in range(6)]  # it heads too many
    held += [(f"Subject number {n}", f"About {n} things.") for n in range(200)] + [("", "No title."), ("All of it", "")]
    values = [{"_id": f"d{n}", "title": title, "text": text} for n, (title, text) in enumerate(held)]
    return Titles(Format.named(str(put(folder / "texts.jsonl", rows(*values)))))  # type: ignore[arg-type]


def test_titles_ask_for_their_texts(tmp_path: Path) -> None:
    format_ = titled(tmp_path)
    documents = {document.id: document for document in read(format_)}
    assert not any(document.title for document in documents.values())
    assert documents["d0"].text == "it flows." and documents["d2"].text == "It flows on."
    queries = {query.id: query.text for query in format_.queries(Faults())}
    assert len(queries) == 201 and "River history" in queries.values()
    judged = {split: list(format_.judgments(split, Faults())) for split in format_.splits()}
    asked = {split: {judgment.query for judgment in of_split} for split, of_split in judged.items()}
    assert not asked["train"] & (asked["dev"] | asked["test"]) and not asked["dev"] & asked["test"]
    assert set().union(*asked.values()) == queries.keys()
    assert 140 < len(asked["train"]) < 180 and all(8 < len(asked[split]) < 35 for split in ("dev", "test"))
    river = next(id_ for id_, text in queries.items() if text == "River history")
    assert {j.document for of_split in judged.values() for j in of_split if j.query == river} == {"d0", "d2"}


# Pairs


def test_pairs_are_questions_with_their_answers(tmp_path: Path) -> None:
    values = [{"question": f"What is thing {n % 300}?", "answer": f"Answer {n}.", "title": "T"} for n in range(320)]
    values += [
        {"question": "what is  THING 0", "answer": "Answer 0.", "title": "T"},
        {"question": "New", "answer": "Answer 0."},
    ]
    format_ = Pairs(put(tmp_path / "faq.jsonl", rows(*values)))  # type: ignore[arg-type]
    documents = {document.id: document for document in read(format_)}
    assert len(documents) == 321  # the same answer under another title is another text
    queries = {query.id: query.text for query in format_.queries(Faults())}
    assert len(queries) == 301 and next(iter(queries.values())) == "What is thing 0?"
    judged = {split: list(format_.judgments(split, Faults())) for split in format_.splits()}
    asked = {split: {judgment.query for judgment in of_split} for split, of_split in judged.items()}
    assert sum(map(len, asked.values())) == 301 and set().union(*asked.values()) == queries.keys()
    assert 210 < len(asked["train"]) < 270 and min(len(asked["dev"]), len(asked["test"])) > 12
    first = {
        documents[j.document].text for some in judged.values() for j in some if queries[j.query] == "What is thing 0?"
    }
    assert first == {"Answer 0.", "Answer 300."}


@pytest.mark.parametrize("zipped", [False, True])
def test_pairs_may_be_two_columns(tmp_path: Path, zipped: bool) -> None:
    file = put(tmp_path / "faq.tsv", "why?\tbecause\nhow?\tso\n", zipped=zipped)
    format_ = Pairs(file)
    assert [document.text for document in read(format_)] == ["because", "so"]
    assert [query.text for query in format_.queries(Faults())] == ["why?", "how?"]


def test_faulty_pairs_are_told_by_line(tmp_path: Path) -> None:
    lines = [{"question": "why?", "answer": " "}, {"q": "how?", "answer": "so"}, {"question": "", "answer": "x"}]
    faults = Faults()
    assert not list(Pairs(put(tmp_path / "faq.jsonl", rows(*lines))).documents(faults))  # type: ignore[arg-type]
    assert faults.shown == [
        "faq.jsonl:1: the answer is empty",
        'faq.jsonl:2: no "question" field (it has "q", "answer"). Map it with query_field',
        "faq.jsonl:3: the question is empty",
    ]
    with pytest.raises(DataError, match="pairs have no split 'valid'. They have: dev, test, train"):
        list(Pairs(tmp_path / "faq.jsonl").judgments("valid", Faults()))


# Titles, taken off


@pytest.mark.parametrize(
    ("title", "text", "rest"),
    [
        (" Go ", "Go: a language", "a language"),
        ("Go", "Gopher holes", "Gopher holes"),
        ("Go", "GO", ""),
        ("", "it flows", "it flows"),
        ("İ", "i̇ flows", "i̇ flows"),  # lowering a letter may make two of it
    ],
)
def test_a_title_is_taken_off_as_whole_words(title: str, text: str, rest: str, tmp_path: Path) -> None:
    file = put(tmp_path / "texts.jsonl", rows({"_id": "a", "title": title, "text": text}))
    (document,) = Titles(Format.named(str(file))).documents(Faults())
    assert document.text == rest


def test_titles_know_what_they_are_made_of(tmp_path: Path) -> None:
    format_ = titled(tmp_path / "a")
    first = format_.fingerprint()
    assert first == Titles(format_.corpus).fingerprint() != replace(format_, least_words=1).fingerprint()
    put(tmp_path / "a" / "texts.jsonl", rows({"_id": "a", "title": "another one", "text": "x"}))
    assert format_.fingerprint() != first
    with pytest.raises(DataError, match=r"titles have no split 'valid'\. They have: dev, test, train"):
        list(format_.judgments("valid", Faults()))
    bare = put(tmp_path / "bare.jsonl", rows({"_id": "a", "text": "x"}))
    with pytest.raises(DataError, match=r"bare\.jsonl has no titles of 2 words or more\. Map them"):
        list(Titles(Format.named(str(bare))).queries(Faults()))
    with pytest.raises(ValueError, match="must be 1 or more"):
        Titles(format_.corpus, least_words=0)


# Recognition


def test_a_place_where_nothing_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path / 'none'}: there is no such file or folder$"):
        Format.recognised(tmp_path / "none")
    with pytest.raises(
        DataError, match=r"pythondocs: there is no such file or folder \(and no format is called so: asked, be"
    ):
        Format.recognised(Path("pythondocs"))


def test_a_folder_that_is_no_data_set_says_what_it_holds_and_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no data set that encloze knows \(it holds nothing\)\. Known: .*BEIR"):
        Format.recognised(tmp_path)
    put(tmp_path / "photo.jpg", b"\xff\xd8")
    put(tmp_path / "table.csv", "a,b\n")
    with pytest.raises(DataError, match=r"\(it holds photo\.jpg, table\.csv\)"):
        Format.recognised(tmp_path)
    with pytest.raises(DataError, match=r"photo\.jpg is no data set that encloze knows\. Known"):
        Format.recognised(tmp_path / "photo.jpg")


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts\.jsonl: the file is empty"):
        Format.recognised(put(tmp_path / "texts.jsonl", ""))


def test_the_pickiest_format_comes_first(tmp_path: Path) -> None:
    place = toys.write_dataset(tmp_path / "both")
    put(place / "README.md", "About this data set.")
    assert Format.recognised(place) is Beir
    put(tmp_path / "marco" / "collection.tsv", "a\tone\n")
    put(tmp_path / "marco" / "notes.txt", "Notes.")
    assert Format.recognised(tmp_path / "marco") is Tsv


# Lines


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_lines_come_with_their_places_blank_ones_and_marks_of_order_left_out(tmp_path: Path, zipped: bool) -> None:
    file = put(tmp_path / "a.txt", b"\xef\xbb\xbffirst\r\n\r\n   \nsecond  \nlast", zipped=zipped)
    assert list(lines(file)) == [
        (f"{file.name}:1", "first"),
        (f"{file.name}:4", "second  "),
        (f"{file.name}:5", "last"),
    ]


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_what_is_not_utf8_is_named_by_file_and_line(tmp_path: Path, zipped: bool) -> None:
    file = put(tmp_path / "a.tsv", "a\tfine\nb\tcafé\n".encode("latin-1"), zipped=zipped)
    with pytest.raises(DataError, match=rf"{file}:2: not UTF-8 text .*Convert the file to UTF-8"):
        read(Tsv(file))


@pytest.mark.parametrize("damage", ["cut", "noise", "no_gzip"])
def test_broken_gzip_is_named(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(rows(*({"_id": str(n), "text": f"text {n * n * n}"} for n in range(2000))).encode())
    broken = {"cut": whole[: len(whole) // 2], "noise": whole[:3000] + b"\0" * 50 + whole[3050:], "no_gzip": b"plain"}
    file = put(tmp_path / "a.jsonl.gz", broken[damage])
    with pytest.raises(DataError, match=rf"{file}:\d+: the gzip data is broken \(.*\)\. Fetch the file again"):
        list(lines(file))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_text_comes_back_from_a_file_of_lines(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("lines") / "a.txt"
    file.write_bytes(("first\n" + "".join(f"{text}\n" for text in texts)).encode())
    assert [text for _, text in lines(file)] == ["first", *(text for text in texts if text.strip())]


def test_faults_are_shown_up_to_the_limit_and_then_counted() -> None:
    faults = Faults()
    faults.stop()
    faults.add("a:1", "odd")
    with pytest.raises(DataError, match=r"^1 fault:\n  a:1: odd$"):
        faults.stop()
    for number in range(2, SHOWN + 4):
        faults.add(f"a:{number}", "odd")
    with pytest.raises(DataError) as caught:
        faults.stop()
    said = str(caught.value).splitlines()
    assert said[0] == f"{SHOWN + 3} faults:" and said[-1] == "  ... and 3 more" and len(said) == SHOWN + 2


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
    faults = Faults()
    assert next(iter(format_.queries(faults))) == Query("q-river-history", "tell me about the river history")
    assert next(iter(format_.judgments("dev", faults))) == Judgment("q-harbour-history", "harbour-history", 1)
    assert [len(list(format_.judgments(split, faults))) for split in format_.splits()] == [10, 10, 20]
    assert format_.splits() == ["dev", "test", "train"] and not faults.count


def test_beir_takes_zipped_judgments_and_none_of_its_headers(tmp_path: Path) -> None:
    put(tmp_path / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore\nq\ta\t2\n", zipped=True)
    put(tmp_path / "qrels" / "test.tsv", "q\ta\t-1\nq\tb\t0\n")
    faults = Faults()
    assert list(Beir(tmp_path).judgments("dev", faults)) == [Judgment("q", "a", 2)]
    assert list(Beir(tmp_path).judgments("test", faults)) == [Judgment("q", "a", -1), Judgment("q", "b", 0)]
    assert Beir(tmp_path).splits() == ["dev", "test"] and not faults.count


def test_beir_takes_titles_and_neighbours_as_they_are_given(tmp_path: Path) -> None:
    put(
        tmp_path / "corpus.jsonl",
        rows({"_id": 7, "text": "x"}, {"_id": "b", "title": None, "text": "", "doc_id": 3, "position": 0}),
    )
    assert read(Beir(tmp_path)) == [Document("7", "", "x", None, None), Document("b", "", "", "3", 0)]


def test_every_malformed_line_of_beir_is_named(tmp_path: Path) -> None:
    put(
        tmp_path / "corpus.jsonl",
        '{"_id": "a", "text": "fine"}\n{"_id": "b", "text": \n["c"]\n{"_id": "d", "body": "x"}\n{"text": "x"}\n'
        '{"_id": "f", "text": 1.5}\n\n{"_id": "g", "text": "x", "position": "two"}\n{"_id": "h", "text": "fine"}\n',
    )
    assert wrong(Beir(tmp_path).documents) == [
        "corpus.jsonl:2: no JSON: Expecting value at column 22",
        "corpus.jsonl:3: a JSON object was expected, found list",
        'corpus.jsonl:4: no "text" field (it has "_id", "body").',
        'corpus.jsonl:5: no "_id" field (it has "text").',
        'corpus.jsonl:6: "text" should be text, found float',
        "corpus.jsonl:8: \"position\" should be a whole number, found 'two'",
    ]
    put(tmp_path / "queries.jsonl", '{"_id": "a"}\n{}\nnothing\n')
    assert [fault.partition(": ")[0] for fault in wrong(Beir(tmp_path).queries)] == [
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
def test_json_that_no_one_could_keep_is_a_fault_too(tmp_path: Path, line: str) -> None:
    put(tmp_path / "corpus.jsonl", f'{{"_id": "fine", "text": "\\ud83d\\ude00"}}\n{line}\n')
    (fault,) = wrong(Beir(tmp_path).documents)
    assert fault.startswith("corpus.jsonl:2: no ")


def test_a_position_beyond_all_numbers_is_a_fault(tmp_path: Path) -> None:
    put(tmp_path / "corpus.jsonl", rows({"_id": "a", "text": "x", "position": 2**63}))
    assert wrong(Beir(tmp_path).documents)[0].startswith('corpus.jsonl:1: "position" should be a whole number')


def test_malformed_judgments_of_beir_are_named(tmp_path: Path) -> None:
    put(tmp_path / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore\nq\ta\tgood\nq a 1\nq\ta\t1.5\nq\tb\t1\textra\n")
    assert wrong(lambda faults: Beir(tmp_path).judgments("dev", faults)) == [
        "dev.tsv:2: the score should be a whole number, found 'good'",
        "dev.tsv:3: 3 tab-separated columns were expected, found 1",
        "dev.tsv:4: the score should be a whole number, found '1.5'",
    ]


def test_a_split_that_beir_lacks_is_answered_with_those_it_has(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"no judgments for the split 'tests' .*It has: dev, test, train"):
        list(Beir(dataset).judgments("tests", Faults()))


# JSON lines


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_jsonl_reads_documents_under_any_usual_name_of_the_id(tmp_path: Path, zipped: bool) -> None:
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


def test_jsonl_reads_the_fields_it_is_told(tmp_path: Path) -> None:
    file = put(tmp_path / "texts.ndjson", rows({"key": "k", "head": "H", "body": "one", "id": "not me"}))
    format_ = Jsonl(file, text_field="body", title_field="head", id_field="key")
    assert Format.recognised(file) is Jsonl and read(format_) == [Document("k", "H", "one")]


def test_jsonl_names_every_malformed_line_and_the_setting_that_helps(tmp_path: Path) -> None:
    file = put(tmp_path / "texts.jsonl", '{"id": "a", "title": "t", "body": "x"}\n"text"\n{"text": "x"\n')
    assert wrong(Jsonl(file).documents) == [
        'texts.jsonl:1: no "text" field (it has "id", "title", "body"). Map it with --corpus.text_field body',
        "texts.jsonl:2: a JSON object was expected, found str",
        "texts.jsonl:3: no JSON: Expecting ',' delimiter at column 13",
    ]
    file = put(tmp_path / "keyed.jsonl", rows({"key": "k", "text": "x"}, {"text": "y"}))
    assert wrong(Jsonl(file, id_field="key").documents) == ['keyed.jsonl:2: no "key" field (it has "text").']


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
def test_whatever_the_texts_are_json_lines_bring_them_back(
    tmp_path_factory: pytest.TempPathFactory, given_: list[tuple[str, str, str]]
) -> None:
    file = tmp_path_factory.mktemp("jsonl") / "texts.jsonl"
    for ascii_ in (True, False):
        values = [{"_id": id_, "title": title, "text": content} for id_, title, content in given_]
        file.write_bytes("".join(json.dumps(value, ensure_ascii=ascii_) + "\n" for value in values).encode())
        assert read(Jsonl(file)) == [Document(*each) for each in given_]


# MS MARCO


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_tsv_reads_a_folder_of_ms_marco(tmp_path: Path, zipped: bool) -> None:
    put(tmp_path / "collection.tsv", "0\tone\n1\ta title\ttwo\n", zipped=zipped)
    put(tmp_path / "queries.dev.tsv", "7\tfirst query\n8\tsecond query\n", zipped=zipped)
    put(tmp_path / "queries.dev.small.tsv", "8\tsecond query\n", zipped=zipped)
    put(tmp_path / "qrels.dev.tsv", "7\t0\t1\t1\n8 0 0 2\n", zipped=zipped)
    put(tmp_path / "qrels.train.tsv", "7\t0\t0\t1\n", zipped=zipped)
    format_, faults = Tsv(tmp_path), Faults()
    assert read(format_) == [Document("0", "", "one"), Document("1", "a title", "two")]
    assert Counter(format_.queries(faults)) == Counter([Query("7", "first query"), Query("8", "second query")])
    assert list(format_.judgments("dev", faults)) == [Judgment("7", "1", 1), Judgment("8", "0", 2)]
    assert format_.splits() == ["dev", "train"] and not faults.count


def test_tsv_reads_a_single_file(tmp_path: Path) -> None:
    assert read(Tsv(put(tmp_path / "mine.tsv", "a\tone\nb\ttwo\n"))) == [
        Document("a", "", "one"),
        Document("b", "", "two"),
    ]


def test_tsv_names_what_is_wrong(tmp_path: Path) -> None:
    put(tmp_path / "collection.tsv", "0\tone\n1 two\n")
    put(tmp_path / "queries.dev.tsv", "7\tone thing\n")
    put(tmp_path / "queries.train.tsv", "no tab\n7\tanother thing\n")
    put(tmp_path / "qrels.dev.tsv", "7\t0\t1\n7\t0\t1\tyes\n")
    format_ = Tsv(tmp_path)
    assert wrong(format_.documents) == ["collection.tsv:2: 2 tab-separated columns were expected, found 1"]
    assert wrong(format_.queries) == [
        "queries.train.tsv:1: 2 tab-separated columns were expected, found 1",
        "queries.train.tsv:2: the query id '7' stands for another text elsewhere",
    ]
    assert wrong(lambda faults: format_.judgments("dev", faults)) == [
        "qrels.dev.tsv:1: 4 columns were expected, found 3",
        "qrels.dev.tsv:2: the grade should be a whole number, found 'yes'",
    ]
    with pytest.raises(DataError, match=r"has no qrels\.test\.tsv for the split 'test' \(it has: dev\)"):
        list(format_.judgments("test", Faults()))


# TREC


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_trec_reads_judgments_whatever_the_split(tmp_path: Path, zipped: bool) -> None:
    format_ = Trec(put(tmp_path / "qrels", "1 0 doc-a 2\n1\t0\tdoc-b\t-1\n", zipped=zipped))
    for split in ("test", "dev"):
        assert list(format_.judgments(split, Faults())) == [Judgment("1", "doc-a", 2), Judgment("1", "doc-b", -1)]


def test_trec_names_what_is_wrong_and_is_not_taken_for_a_run(tmp_path: Path) -> None:
    format_ = Trec(put(tmp_path / "qrels", "1 0 a 1\n1 0 b\n1 0 c relevant\n"))
    assert wrong(lambda faults: format_.judgments("test", faults)) == [
        "qrels:2: 4 columns were expected, found 3",
        "qrels:3: the grade should be a whole number, found 'relevant'",
    ]
    run = put(tmp_path / "bm25.run", "1 Q0 a 1 12.5 bm25\n")
    with pytest.raises(DataError, match="is no data set"):
        Format.recognised(run)
    with pytest.raises(DataError, match="holds no documents"):
        format_.documents(Faults())


# Text


def test_text_is_cut_at_paragraphs_with_source_and_position(tmp_path: Path) -> None:
    put(tmp_path / "b" / "notes.txt", "one two three\n\nfour five\n \t\nsix seven eight nine\n\n\n\nten\n")
    put(tmp_path / "a.txt", "alone\nin two lines\n")
    put(tmp_path / "c.csv", "not,text\n")
    documents = read(Text(tmp_path, passage_words=5))
    assert documents == [
        Document("a.txt#0", "a", "alone\nin two lines", "a.txt", 0),
        Document("b/notes.txt#0", "notes", "one two three\n\nfour five", "b/notes.txt", 0),
        Document("b/notes.txt#1", "notes", "six seven eight nine\n\nten", "b/notes.txt", 1),
    ]


def test_a_heading_closes_a_passage_and_becomes_the_title(tmp_path: Path) -> None:
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


def test_a_long_paragraph_stays_whole(tmp_path: Path) -> None:
    file = put(tmp_path / "long.txt", "short\n\n" + "word " * 50 + "\n\nshort")
    assert [len(d.text.split()) for d in read(Text(file, passage_words=10))] == [1, 50, 1]


@given(
    st.lists(st.text("abä \n", max_size=30), max_size=8),
    st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_no_word_is_lost_or_doubled_and_no_passage_is_too_long_without_need(
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


def test_text_that_is_not_utf8_is_named_by_line_and_the_others_are_read(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", "one\ntwo\ncafé\n".encode("latin-1"))
    put(tmp_path / "b.md", b"\xef\xbb\xbffine")
    put(tmp_path / "c.md", "über\n".encode("latin-1"))
    faults = Faults()
    assert [document.text for document in Text(tmp_path).documents(faults)] == ["fine"]
    assert faults.shown == [
        f"{tmp_path / 'a.txt'}:3: not UTF-8 text. Convert the file to UTF-8",
        f"{tmp_path / 'c.md'}:1: not UTF-8 text. Convert the file to UTF-8",
    ]


def test_a_passage_holds_at_least_a_word(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="passage_words must be 1 or more, not 0"):
        Text(tmp_path, passage_words=0)


# Docstrings

BODY = "It takes {0} and gives back what anyone would expect of such a thing, with every {0} in its usual place."


def docstring(summary: str, word: str, body: str = BODY) -> str:
    return f'"""{summary}\n\n    {body.format(word)}\n    """'


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Three packages, the largest first, none of which can be imported; one copies a docstring of another."""
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


def parts(packages: tuple[str, ...]) -> dict[str, set[str]]:
    """The ids of each part's documents, all of which are judged here."""
    format_ = PythonDocs(packages=packages)
    return {split: {judged.document for judged in format_.judgments(split, Faults())} for split in format_.splits()}


def test_docstrings_are_read_and_never_imported(packages: tuple[str, ...]) -> None:
    documents = {document.id: document for document in read(PythonDocs(packages=packages))}
    assert len(documents) == 11
    found = documents["fx_large.garden:grow_pear"]
    assert found == Document(
        "fx_large.garden:grow_pear", "fx_large.garden.grow_pear", BODY.format("pear 1"), "fx_large.garden", 2
    )
    assert not any(name.partition(".")[0] in packages for name in sys.modules)


def test_a_summary_asks_for_the_rest_of_its_docstring(packages: tuple[str, ...]) -> None:
    format_ = PythonDocs(packages=packages)
    queries = {query.id: query.text for query in format_.queries(Faults())}
    assert queries["q:fx_large.garden:grow_apple"] == "Grow one apple from a seed."
    judged = [judgment for split in format_.splits() for judgment in format_.judgments(split, Faults())]
    assert Judgment("q:fx_middle.garden:grow_fig", "fx_middle.garden:grow_fig", 1) in judged
    assert {judgment.query for judgment in judged} == set(queries)
    texts = {document.id: document.text for document in read(format_)}
    assert not any(queries[judgment.query] in texts[judgment.document] for judgment in judged)


def test_whole_packages_are_one_part_and_copies_go_with_their_originals(packages: tuple[str, ...]) -> None:
    held = parts(packages)
    assert {id_.partition(".")[0] for id_ in held["train"] - {"fx_small.copied:raise_apple"}} == {"fx_large"}
    assert {id_.partition(".")[0] for id_ in held["test"]} == {"fx_middle"}
    assert held["dev"] == {"fx_small.garden:grow_melon"}
    assert "fx_small.copied:raise_apple" in held["train"]  # its body stands in the training part
    with pytest.raises(DataError, match=r"python_docs has no split 'valid'\. It has: dev, test, train"):
        list(PythonDocs(packages=packages).judgments("valid", Faults()))


def test_documents_of_the_training_part_or_of_the_others_can_be_had_alone(packages: tuple[str, ...]) -> None:
    held, whole = parts(packages), read(PythonDocs(packages=packages))
    train, others = (read(PythonDocs(packages=packages, only=only)) for only in ("train", "held_out"))  # type: ignore[arg-type]
    assert {document.id for document in train} == held["train"]
    assert {document.id for document in others} == held["dev"] | held["test"]
    assert sorted(train + others) == sorted(whole)


def test_pretraining_sees_summaries_of_the_training_part_only(packages: tuple[str, ...]) -> None:
    held, format_ = parts(packages), PythonDocs(packages=packages)
    seen = {document.id: document.text for document in format_.pretraining_documents(Faults())}
    bodies = {document.id: document.text for document in read(format_)}
    assert seen.keys() == bodies.keys()
    for id_, text_ in seen.items():
        assert bodies[id_] in text_
        assert (text_ == bodies[id_]) == (id_ not in held["train"])
    assert seen["fx_large.garden:grow_plum"].startswith("Grow one plum from a seed.\n\n")


def test_private_short_and_nested_docstrings_tests_and_templates_are_left_out(
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


def test_a_summary_of_many_docstrings_or_of_several_parts_asks_nothing(
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
    assert [query.text for query in format_.queries(Faults())] == ["Return the sum of things."]
    (split,) = [split for split in format_.splits() if list(format_.judgments(split, Faults()))]
    assert len(list(format_.judgments(split, Faults()))) == 5


def test_rulers_are_no_part_of_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "==========\nPlants --- and where they grow\n==========\n\n" + BODY.format("plants")
    put(tmp_path / "site" / "fx_ruled" / "__init__.py", f"{text!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (query,) = PythonDocs(packages=("fx_ruled",)).queries(Faults())
    assert query.text == "Plants --- and where they grow"


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"there is no package 'no_such_package' here\. Install it, or leave it out"):
        read(PythonDocs(packages=("no_such_package",)))


def test_a_package_without_docstrings_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "site" / "fx_silent" / "__init__.py", "x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DataError, match="no docstrings were found in fx_silent"):
        read(PythonDocs(packages=("fx_silent",)))


def test_docstrings_are_extracted_once(packages: tuple[str, ...], cache: Path) -> None:
    first = read(PythonDocs(packages=packages))
    (held,) = (cache / "python_docs").glob("*.json")
    changed = held.stat().st_mtime_ns
    assert read(PythonDocs(packages=packages)) == first and held.stat().st_mtime_ns == changed
    assert len(read(PythonDocs(packages=packages[:1]))) < len(first)
    assert len(list((cache / "python_docs").glob("*.json"))) == 2


# Asked


def test_asked_reads_documents_here_and_questions_there(tmp_path: Path) -> None:
    corpus, questions = titled(tmp_path / "texts"), toys.write_dataset(tmp_path / "toys")
    (questions / "corpus.jsonl").unlink()
    data = recipe.build(
        Holder, {"data": {"type": "generated_queries", "corpus": plain(corpus), "questions": str(questions)}}
    ).data
    assert data == Asked(corpus, questions)
    assert read(data) == read(corpus) and data.splits() == ["dev", "test", "train"] and data.place() == questions
    assert list(data.pretraining_documents(Faults())) == list(corpus.pretraining_documents(Faults()))
    assert list(data.queries(Faults())) == list(Beir(questions).queries(Faults()))
    assert list(data.judgments("dev", Faults())) == list(Beir(questions).judgments("dev", Faults()))


def test_a_corpus_is_converted_once_whatever_is_asked(tmp_path: Path) -> None:
    dataset = toys.write_dataset(tmp_path / "toys")
    corpus = Beir(dataset)
    assert Corpus.open(Asked(corpus, dataset)).file == Corpus.open(corpus).file
    put(dataset / "corpus.jsonl", rows({"_id": "a", "text": "one"}))
    assert len(Corpus.open(Asked(corpus, dataset))) == 1


def test_questions_that_are_not_there_are_missed_when_they_are_read(tmp_path: Path) -> None:
    data = Asked(Beir(toys.write_dataset(tmp_path / "toys")), tmp_path / "nowhere")
    assert len(read(data)) == 40
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        list(data.queries(Faults()))


@dataclass(frozen=True)
class Holder:
    """Something with a data set."""

    data: Format

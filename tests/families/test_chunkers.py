"""Properties of every chunker, and the format passages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze import Corpus, Retriever
from encloze.data.chunkers._sentences import sentences_of
from encloze.data.chunkers.base import Chunker
from encloze.data.chunkers.headings import Headings
from encloze.data.chunkers.sentences import Sentences
from encloze.data.chunkers.tokens import Tokens
from encloze.data.chunkers.words import Words
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.passages import Passages
from encloze.data.words import split_words

SIZES = {
    "sentences": Sentences(max_words=9, overlap=1),
    "words": Words(max_words=9, overlap=3),
    "headings": Headings(max_words=9),
    "tokens": Tokens(max_tokens=9, overlap=3),
}
PIECES = [
    "river",
    "The",
    " ",
    " ",
    "\n",
    "\n\n",
    ". ",
    "! ",
    "3.5",
    "e.g. ",
    "# ",
    "## Heading\n",
    "---\n",
    "川は海へ",
    "。",
    "é",
    "𝄞",
    "x" * 40,
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@pytest.fixture(autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "tokenizer_of_chunkers"
    if not folder.exists():
        folder.mkdir()
        toys.tokenizer().save(folder, 64)
        (folder / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("encloze.data.chunkers.tokens.locate", lambda _: folder)


@pytest.mark.parametrize("name", Chunker.members())
@settings(max_examples=30, deadline=None)
@given(text=TEXTS)
def test_passages_are_short_in_order_and_contain_the_whole_text(name: str, text: str) -> None:
    chunker = SIZES[name]
    passages = chunker.cut(text)
    covered = [False] * len(text)
    for passage, following in zip(passages, [*passages[1:], None], strict=False):
        part = text[passage.begin : passage.end]
        assert part and part == part.strip()
        assert following is None or (passage.begin < following.begin and passage.end < following.end)
        covered[passage.begin : passage.end] = [True] * len(part)
        if name != "tokens":
            assert len(split_words(part)) <= 9 + 2  # at most one more at each place where parts are joined or divided
    missing = "".join(character for character, is_in in zip(text, covered, strict=True) if not is_in)
    if name == "headings":
        assert not re.sub(r"(?m)^[#=\-].*$", "", missing).strip() or passages == [] or "#" in text or "---" in text
    elif name == "tokens":
        assert not any(character.isalnum() and ord(character) < 500 for character in missing)
    else:
        assert not missing.strip()


@pytest.mark.parametrize("name", Chunker.members())
def test_a_text_without_words_has_no_passages(name: str) -> None:
    assert SIZES[name].cut("") == SIZES[name].cut(" \n\n ") == []


def parts(chunker: Chunker, text: str) -> list[str]:
    return [text[passage.begin : passage.end] for passage in chunker.cut(text)]


def test_sentences_end_at_punctuation_of_many_scripts() -> None:
    text = (
        'Dr. Smith met J. R. Hall. He said "Stop." Then he left!  It cost 3.5 dollars, i.e. nothing.\n'
        "A list:\n- one item\nwrapped\n川は海へ流れる。冬は凍る。 ما هذا؟ نعم. यह है। हाँ।"
    )
    assert [text[begin:end] for begin, end in sentences_of(text)] == [
        "Dr. Smith met J. R. Hall.",
        'He said "Stop."',
        "Then he left!",
        "It cost 3.5 dollars, i.e. nothing.",
        "A list:",
        "- one item\nwrapped",
        "川は海へ流れる。",
        "冬は凍る。",
        "ما هذا؟",
        "نعم.",
        "यह है।",
        "हाँ।",
    ]


def test_passages_overlap_by_sentences_and_words() -> None:
    text = "One two. Three four. Five six. Seven eight."
    assert parts(Sentences(4, 1), text) == ["One two. Three four.", "Three four. Five six.", "Five six. Seven eight."]
    assert parts(Sentences(4), text) == ["One two. Three four.", "Five six. Seven eight."]
    assert parts(Sentences(3), "One two three four five. Six.") == ["One two three", "four five. Six."]
    assert parts(Words(3, 1), "a b c d e f g") == ["a b c", "c d e", "e f g"]
    assert parts(Words(4, 0), "川は海へ流れる") == ["川は海へ", "流れる"]


def test_headings_divide_and_name_passages() -> None:
    text = "Intro.\n\n# One #\nFirst here.\n\nSecond here.\n\nTwo words\n---\nLast.\n\n### Empty\n"
    passages = Headings(4).cut(text)
    assert [(p.headings, text[p.begin : p.end]) for p in passages] == [
        ((), "Intro."),
        (("One",), "First here.\n\nSecond here."),
        (("One", "Two words"), "Last."),
    ]


def test_headings_in_code_are_text_and_windows_line_ends_are_line_ends() -> None:
    text = "# Setup\n```\n# install rivers\nmake\n```\n## Volcano\n### Lava\nHot.\n# End"
    assert [(p.headings, text[p.begin : p.end]) for p in Headings(50).cut(text)] == [
        (("Setup",), "```\n# install rivers\nmake\n```"),
        (("Setup", "Volcano", "Lava"), "Hot."),
    ]
    text = "Head\r\n====\r\nOne two.\r\n\r\nThree four."
    assert [(p.headings, text[p.begin : p.end]) for p in Headings(3).cut(text)] == [
        (("Head",), "One two."),
        (("Head",), "Three four."),
    ]
    unclosed = "# A\n~~~\n# no heading"
    assert [p.headings for p in Headings(50).cut(unclosed)] == [("A",)]


def test_a_document_without_a_passage_stays_whole(tmp_path: Path) -> None:
    lines = [
        {"_id": "a", "text": "# Only a heading"},
        {"_id": "b", "text": "\u200b"},
        {"_id": "c", "text": "", "title": "T"},
    ]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name in Chunker.members():
        corpus = Corpus.from_format(Passages(Format.from_name(str(file)), SIZES[name]))
        assert corpus.ids[0] == "a#0" and {document.source for document in corpus} == {"a", "b", "c"}


def test_fields_and_the_source_of_documents_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"_id": "a", "text": "River.", "doc_id": "book", "begin": "2026"}\n', encoding="utf-8")
    retriever = Retriever.build(Corpus.from_format(Passages(Format.from_name(str(file)))), indexes=["bm25"])
    for filter_ in ('source == "book"', 'source == "a"', 'begin == "2026"', "passage_end == 6"):
        assert [hit.id for hit in retriever.search("river", filter=filter_)] == ["a#0"]


def test_accents_that_a_tokenizer_removes_stay_with_their_words() -> None:
    text = "caf\u0065\u0301 d\u0065\u0301j\u0061\u0300 vu\u0301 " * 8
    for passage in Tokens(max_tokens=6, overlap=2).cut(text):
        assert passage.end == len(text.rstrip()) or text[passage.end].isspace()


def test_tokens_are_counted_by_the_tokenizer_and_punctuation_stays_with_words() -> None:
    text = "The river (a long one) flows. " * 6
    tokenizer = toys.tokenizer()
    pieces = parts(Tokens(max_tokens=10, overlap=4), text.strip())
    assert all(len(encoded.ids) <= 10 for encoded in tokenizer.encode(pieces))
    assert not any(piece[0] in ".)" or piece.endswith("(") for piece in pieces) and len(pieces) > 5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Sentences(0),
        lambda: Sentences(5, -1),
        lambda: Words(5, 5),
        lambda: Headings(0),
        lambda: Tokens(max_tokens=0),
        lambda: Tokens(max_tokens=5, overlap=6),
    ],
)
def test_settings_out_of_range_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        wrong()  # type: ignore[operator]


def test_passages_keep_title_fields_and_place(tmp_path: Path) -> None:
    dataset = toys.write_dataset(tmp_path / "data")
    format_ = Passages(Beir(dataset), Sentences(max_words=6))
    original, corpus = Corpus.from_format(Beir(dataset)), Corpus.from_format(format_)
    assert len(corpus) > len(original) and corpus.sources == set(original.ids)
    for passage in corpus:
        assert passage.source and passage.id == f"{passage.source}#{passage.position}"
        document = original[original.number_of[passage.source]]
        assert document.text[passage.fields["passage_begin"] : passage.fields["passage_end"]] == passage.text
        assert passage.title == document.title and passage.fields.items() >= document.fields.items()
    assert format_.splits() == Beir(dataset).splits()
    assert format_.fingerprint() != Passages(Beir(dataset), Sentences(max_words=7)).fingerprint()


def test_a_search_returns_the_best_passage_of_each_document() -> None:
    documents = [
        {"id": f"{source}#{n}", "text": text, "doc_id": source}
        for source, texts in {"a": ["river sea", "river river", "lake"], "b": ["river boat", "sail"]}.items()
        for n, text in enumerate(texts)
    ]
    documents = [{**d, "source": d.pop("doc_id")} for d in documents] + [{"id": "c", "text": "a river in a long text"}]
    retriever = Retriever.build(documents, indexes=["bm25"])
    plain = retriever.search("river", 10)
    best = retriever.search("river", 10, passage_aggregation="max")
    assert [hit.id for hit in plain] == ["a#1", "a#0", "b#0", "c"] and [hit.id for hit in best] == ["a#1", "b#0", "c"]
    assert [hit.score for hit in best] == [plain[0].score, plain[2].score, plain[3].score]
    total = retriever.search("river", 2, passage_aggregation="sum")
    assert [hit.id for hit in total] == ["a#1", "b#0"]
    assert total[0].score == pytest.approx(plain[0].score + plain[1].score)


def test_as_many_documents_as_wanted_are_found_even_if_one_has_many_passages() -> None:
    many = [{"id": f"a#{n}", "text": "river river", "source": "a"} for n in range(3000)]
    others = [{"id": str(n), "text": "river and a longer text of other words"} for n in range(20)]
    retriever = Retriever.build([*many, *others], indexes=["bm25"])
    for aggregation in ("max", "sum"):
        assert len(retriever.search("river", 10, passage_aggregation=aggregation)) == 10
        assert len(retriever.search("river", 30, passage_aggregation=aggregation)) == 21

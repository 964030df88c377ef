"""Labelled texts are read from every form, recognised by looking, and what is wrong is named by file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.data.labels.conll import Conll
from encloze.data.labels.jsonl import Jsonl
from encloze.data.labels.tsv import Tsv
from encloze.data.records import Labelled
from encloze.errors import DataError
from encloze.evaluation.labels import judge_labels

TEXTS = [Labelled("a river", ("water",)), Labelled("an engine, mended", ("work",))]
WORDS = [Labelled("Ada went", ("B-PER", "O"), ("Ada", "went")), Labelled("home", ("O",), ("home",))]
AS_JSON = '{"text": "a river", "label": "water"}\n{"text": "an engine, mended", "label": "work"}\n'
FILES: list[tuple[str, str, list[Labelled]]] = [
    ("train.jsonl", AS_JSON, TEXTS),
    ("train.jsonl", '{"words": ["Ada", "went"], "tags": ["B-PER", "O"]}\n{"words": ["home"], "tags": ["O"]}\n', WORDS),
    ("train.jsonl", '{"text": "x", "label": 3}\n', [Labelled("x", ("3",))]),
    ("train.tsv", "a river\twater\r\nan engine, mended\twork\n", TEXTS),
    ("train.tsv", "sentence\tLabel\na river\twater\n\nan engine, mended\twork\n", TEXTS),
    ("train.conll", "-DOCSTART- -X- O\n\nAda NNP B-PER\nwent  VBD O\n\n\nhome RB O", WORDS),
    ("train.conll", "Ada\tB-PER\nwent\tO\n \nhome\tO\n\n", WORDS),
]


def put(folder: Path, **parts: str) -> Path:
    """A folder of files; ``train_jsonl`` is train.jsonl."""
    folder.mkdir(exist_ok=True)
    for name, text in parts.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("name", "text", "expected"), FILES)
def test_a_form_is_recognised_and_read(
    name: str, text: str, expected: list[Labelled], zipped: bool, tmp_path: Path
) -> None:
    data = text.encode()
    (tmp_path / f"{name}{'.gz' * zipped}").write_bytes(gzip.compress(data) if zipped else data)
    labels = Labels.named(str(tmp_path))
    assert labels.name == name.rpartition(".")[2]
    assert labels.has("train") and not labels.has("dev")
    assert labels.read("train") == expected


def test_every_member_is_tested() -> None:
    assert {name.rpartition(".")[2] for name, *_ in FILES} == {Labels.member(m).ending for m in Labels.members()}


def test_fields_of_other_names_are_mapped(tmp_path: Path) -> None:
    lines = [{"body": example.text, "kind": example.labels[0]} for example in TEXTS]
    put(tmp_path, train_jsonl="".join(json.dumps(line) + "\n" for line in lines))
    assert Jsonl(tmp_path, text_field="body", label_field="kind").read("train") == TEXTS
    put(tmp_path, train_jsonl='{"tokens": ["a", "b"], "ner": [0, 1]}\n')
    read = Jsonl(tmp_path, words_field="tokens", tags_field="ner").read("train")
    assert read == [Labelled("a b", ("0", "1"), ("a", "b"))]


@pytest.mark.parametrize(
    ("labels", "text", "says"),
    [
        (Jsonl, '{"text": "a"}', 'train.jsonl:1: no "label" field (it has "text"). Map it with --dataset.label_field'),
        (Jsonl, '{"text": "a", "label": 1.5}', '"label" should be text, found float'),
        (Jsonl, '{"text": " ", "label": "a"}', "train.jsonl:1: the text is empty"),
        (Jsonl, '{"text": "a", "label": ""}', "train.jsonl:1: a label is empty"),
        (Jsonl, '{"words": ["a", "b"], "tags": ["O"]}', "train.jsonl:1: 2 words have 1 tags"),
        (Jsonl, '{"words": ["a", " "], "tags": ["O", "O"]}', "train.jsonl:1: word 2 is empty"),
        (Jsonl, '{"words": [], "tags": []}', "train.jsonl:1: the text is empty"),
        (Jsonl, '{"words": "a b", "tags": ["O"]}', '"words" should be a list of texts, found a b'),
        (Jsonl, '{"words": ["a"], "tags": [null]}', '"tags" should be a list of texts, found [None]'),
        (Jsonl, '{"words": ["a"]}', 'no "tags" field (it has "words"). Map it with --dataset.tags_field'),
        (Jsonl, f'{AS_JSON}{{"words": ["a"], "tags": ["O"]}}', "train.jsonl:3: words have tags here, and texts"),
        (Jsonl, '{"words": ["a"], "tags": ["O"]}\n{"text": "a", "label": "b"}', "train.jsonl:2: no words with tags"),
        (Tsv, "a river", "train.tsv:1: 2 tab-separated columns were expected, found 1"),
        (Tsv, "a\triver\twater", "train.tsv:1: 2 tab-separated columns were expected, found 3"),
        (Conll, "a O\nriver\n", "train.conll:2: a word and its tag were expected, found 'river' alone"),
        (Conll, "\n\n", "train.conll: the file is empty"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(labels: type[Labels], text: str, says: str, tmp_path: Path) -> None:
    put(tmp_path, **{f"train_{labels.name}": text})
    with pytest.raises(DataError) as caught:
        labels(tmp_path).read("train")
    assert says in str(caught.value)


def test_a_no_break_space_is_a_word_and_not_a_blank(tmp_path: Path) -> None:
    put(tmp_path, train_conll="a\u00a0b X O\n")
    assert Conll(tmp_path).read("train") == [Labelled("a\u00a0b", ("O",), ("a\u00a0b",))]


def test_a_place_without_labelled_texts_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is no folder of labelled texts \(there is no such folder\)"):
        Labels.named(str(tmp_path / "nowhere"))
    put(tmp_path, corpus_jsonl="")
    with pytest.raises(ValueError, match=r"\(it holds corpus.jsonl\). Known .* end in .conll, .jsonl, .tsv"):
        Labels.named(str(tmp_path))
    put(tmp_path, dev_jsonl=AS_JSON)
    with pytest.raises(DataError, match=r"has no train.jsonl \(it holds corpus.jsonl, dev.jsonl\). A split is a file"):
        Labels.named(str(tmp_path)).read("train")


# ----------------------------------------------------------------------------------------------------------------- sets


def test_a_set_has_its_parts_and_the_labels_of_train(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\ty\nb\tx\nc\tx\n", test_tsv="d\tx\ne\ty\n")
    data = LabelledSet.open(Tsv(tmp_path), "test")
    assert list(data.parts) == ["train", "test"] and data.names == ("x", "y") and data.unit == "texts"
    assert [codes.tolist() for codes in data.codes("train")] == [[1], [0], [0]]
    assert data.commonest == "x" and data.labels_of("test", np.array([1, -1])) == [("y",), (None,)]
    put(tmp_path, dev_tsv="f\tx\n")
    assert list(LabelledSet.open(Tsv(tmp_path), "test").parts) == ["train", "dev", "test"]


def test_words_that_are_not_seen_count_as_o_where_there_is_such_a_tag(tmp_path: Path) -> None:
    put(tmp_path, train_conll="a B-X\nb O\n\nc O\n", test_conll="a B-X\n\nb O\nc O\n")
    data = LabelledSet.open(Conll(tmp_path), "test")
    assert data.labels_of("test", np.array([0, -1, 1])) == [("B-X",), ("O", "O")]
    put(tmp_path, train_conll="a NOUN\nb VERB\n", test_conll="b NOUN\na VERB\n")
    assert LabelledSet.open(Conll(tmp_path), "test").labels_of("test", np.array([-1, 1])) == [(None, "VERB")]


def test_the_usual_tag_of_a_word_is_the_one_it_has_most_often_in_train(tmp_path: Path) -> None:
    put(tmp_path, train_conll="a X\nb O\n\na Y\na Y\nc O\nc O\n", test_conll="a X\nnew O\n\nb O\n")
    data = LabelledSet.open(Conll(tmp_path), "test")
    assert data.usual("test") == [("Y", "O"), ("O",)]
    systems = judge_labels(data, "test", "x", np.array([0, 0, 0])).systems
    assert [system.name for system in systems] == ["commonest label", "usual tag of each word", "x"]


def test_one_label_alone_is_nothing_to_learn(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\tx\nb\tx\n", test_tsv="c\tx\n")
    with pytest.raises(DataError, match="every text of train has the label 'x': there is nothing to learn"):
        LabelledSet.open(Tsv(tmp_path), "test")


def test_a_missing_part_is_said(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\tx\nb\ty\n", dev_tsv="c\tx\n")
    with pytest.raises(DataError, match=r"has no test.tsv \(it holds dev.tsv, train.tsv\)"):
        LabelledSet.open(Tsv(tmp_path), "test")
    assert list(LabelledSet.open(Tsv(tmp_path), "dev").parts) == ["train", "dev"]


def test_labels_and_texts_that_do_not_fit_train_are_said(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\tx\nb\ty\n", test_tsv="c\tx\nd\tz\n")
    with pytest.warns(UserWarning, match=r"1 of 2 texts of test have labels that train lacks \('z'\).*count as wrong"):
        data = LabelledSet.open(Tsv(tmp_path), "test")
    assert [codes.tolist() for codes in data.codes("test")] == [[0], [-1]]
    put(tmp_path, test_tsv="a\ty\nd\tx\n")
    with pytest.warns(UserWarning, match="1 of the 2 texts of test are in train, too"):
        LabelledSet.open(Tsv(tmp_path), "test")
    put(tmp_path, test_tsv="c\tu\nd\tv\n")
    with pytest.raises(DataError, match=r"train has none of the labels of test \('u', 'v'\)"):
        LabelledSet.open(Tsv(tmp_path), "test")
    put(tmp_path, train_jsonl=AS_JSON, test_jsonl='{"words": ["a"], "tags": ["O"]}')
    with pytest.raises(DataError, match="train labels texts, and test does not"):
        LabelledSet.open(Jsonl(tmp_path), "test")

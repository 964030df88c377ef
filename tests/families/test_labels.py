"""Label formats: recognition, reading, and errors with file and line; data sets of labeled texts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.data.labels.conll import Conll
from encloze.data.labels.jsonl import Jsonl
from encloze.data.labels.tsv import Tsv
from encloze.data.records import LabeledText
from encloze.errors import DataError
from encloze.evaluation.labels import evaluate_predictions

TEXTS = [LabeledText("a river", ("water",)), LabeledText("an engine, repaired", ("work",))]
WORDS = [LabeledText("Ada went", ("B-PER", "O"), ("Ada", "went")), LabeledText("home", ("O",), ("home",))]
AS_JSON = '{"text": "a river", "label": "water"}\n{"text": "an engine, repaired", "label": "work"}\n'
FILES: list[tuple[str, str, list[LabeledText]]] = [
    ("train.jsonl", AS_JSON, TEXTS),
    ("train.jsonl", '{"words": ["Ada", "went"], "tags": ["B-PER", "O"]}\n{"words": ["home"], "tags": ["O"]}\n', WORDS),
    ("train.jsonl", '{"text": "x", "label": 3}\n', [LabeledText("x", ("3",))]),
    ("train.tsv", "a river\twater\r\nan engine, repaired\twork\n", TEXTS),
    ("train.tsv", "sentence\tLabel\na river\twater\n\nan engine, repaired\twork\n", TEXTS),
    ("train.conll", "-DOCSTART- -X- O\n\nAda NNP B-PER\nwent  VBD O\n\n\nhome RB O", WORDS),
    ("train.conll", "Ada\tB-PER\nwent\tO\n \nhome\tO\n\n", WORDS),
]


def put(folder: Path, **files: str) -> Path:
    """Write files; the argument ``train_jsonl`` is the file train.jsonl."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("name", "text", "expected"), FILES)
def test_each_format_is_recognized_and_read(
    name: str, text: str, expected: list[LabeledText], zipped: bool, tmp_path: Path
) -> None:
    data = text.encode()
    (tmp_path / f"{name}{'.gz' * zipped}").write_bytes(gzip.compress(data) if zipped else data)
    labels = LabelFormat.from_name(str(tmp_path))
    assert labels.name == name.rpartition(".")[2]
    assert labels.has_split("train") and not labels.has_split("dev")
    assert labels.read("train") == expected


def test_every_member_is_tested() -> None:
    assert {name.rpartition(".")[2] for name, *_ in FILES} == {
        LabelFormat.member(m).extension for m in LabelFormat.members()
    }


def test_field_names_are_settings(tmp_path: Path) -> None:
    lines = [{"body": example.text, "kind": example.labels[0]} for example in TEXTS]
    put(tmp_path, train_jsonl="".join(json.dumps(line) + "\n" for line in lines))
    assert Jsonl(tmp_path, text_field="body", label_field="kind").read("train") == TEXTS
    put(tmp_path, train_jsonl='{"tokens": ["a", "b"], "ner": [0, 1]}\n')
    read = Jsonl(tmp_path, words_field="tokens", tags_field="ner").read("train")
    assert read == [LabeledText("a b", ("0", "1"), ("a", "b"))]


@pytest.mark.parametrize(
    ("labels", "text", "message"),
    [
        (
            Jsonl,
            '{"text": "a"}',
            'train.jsonl:1: missing field "label" (fields: "text"). Name the field with --dataset.label_field',
        ),
        (Jsonl, '{"text": "a", "label": 1.5}', '"label" must be text, found float'),
        (Jsonl, '{"text": " ", "label": "a"}', "train.jsonl:1: the text is empty"),
        (Jsonl, '{"text": "a", "label": ""}', "train.jsonl:1: a label is empty"),
        (Jsonl, '{"words": ["a", "b"], "tags": ["O"]}', "train.jsonl:1: 2 words have 1 tags"),
        (Jsonl, '{"words": ["a", " "], "tags": ["O", "O"]}', "train.jsonl:1: word 2 is empty"),
        (Jsonl, '{"words": [], "tags": []}', "train.jsonl:1: the text is empty"),
        (Jsonl, '{"words": "a b", "tags": ["O"]}', '"words" must be a list of strings, found a b'),
        (Jsonl, '{"words": ["a"], "tags": [null]}', '"tags" must be a list of strings, found [None]'),
        (Jsonl, '{"words": ["a"]}', 'missing field "tags" (fields: "words"). Name the field with --dataset.tags_field'),
        (
            Jsonl,
            f'{AS_JSON}{{"words": ["a"], "tags": ["O"]}}',
            "train.jsonl:3: labels of words in a file with labels of texts",
        ),
        (
            Jsonl,
            '{"words": ["a"], "tags": ["O"]}\n{"text": "a", "label": "b"}',
            "train.jsonl:2: labels of texts in a file with labels of words",
        ),
        (Tsv, "a river", "train.tsv:1: expected 2 tab-separated columns, found 1"),
        (Tsv, "a\triver\twater", "train.tsv:1: expected 2 tab-separated columns, found 3"),
        (Conll, "a O\nriver\n", "train.conll:2: expected a word and its tag, found only 'river'"),
        (Conll, "\n\n", "train.conll: the file is empty"),
    ],
)
def test_errors_name_the_file_and_line(labels: type[LabelFormat], text: str, message: str, tmp_path: Path) -> None:
    put(tmp_path, **{f"train_{labels.name}": text})
    with pytest.raises(DataError) as caught:
        labels(tmp_path).read("train")
    assert message in str(caught.value)


def test_a_no_break_space_does_not_separate_columns(tmp_path: Path) -> None:
    put(tmp_path, train_conll="a\u00a0b X O\n")
    assert Conll(tmp_path).read("train") == [LabeledText("a\u00a0b", ("O",), ("a\u00a0b",))]


def test_a_folder_without_labeled_texts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is not a folder of labeled texts \(there is no such folder\)"):
        LabelFormat.from_name(str(tmp_path / "nowhere"))
    put(tmp_path, corpus_jsonl="")
    with pytest.raises(
        ValueError, match=r"\(the folder contains corpus.jsonl\). Give .* extensions .conll, .jsonl, .tsv"
    ):
        LabelFormat.from_name(str(tmp_path))
    put(tmp_path, dev_jsonl=AS_JSON)
    with pytest.raises(
        DataError, match=r"has no train.jsonl \(the folder contains corpus.jsonl, dev.jsonl\). Write each"
    ):
        LabelFormat.from_name(str(tmp_path)).read("train")


# ----------------------------------------------------------------------------------------------------------------- sets


def test_a_data_set_has_splits_and_the_labels_of_train(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\ty\nb\tx\nc\tx\n", test_tsv="d\tx\ne\ty\n")
    data = LabeledDataset.load(Tsv(tmp_path), "test")
    assert list(data.splits) == ["train", "test"] and data.label_names == ("x", "y") and data.labeled_unit == "texts"
    assert [ids.tolist() for ids in data.label_ids("train")] == [[1], [0], [0]]
    assert data.majority_label == "x" and data.labels_from_ids("test", np.array([1, -1])) == [("y",), (None,)]
    put(tmp_path, dev_tsv="f\tx\n")
    assert list(LabeledDataset.load(Tsv(tmp_path), "test").splits) == ["train", "dev", "test"]


def test_words_without_prediction_are_o_if_there_is_such_a_tag(tmp_path: Path) -> None:
    put(tmp_path, train_conll="a B-X\nb O\n\nc O\n", test_conll="a B-X\n\nb O\nc O\n")
    data = LabeledDataset.load(Conll(tmp_path), "test")
    assert data.labels_from_ids("test", np.array([0, -1, 1])) == [("B-X",), ("O", "O")]
    put(tmp_path, train_conll="a NOUN\nb VERB\n", test_conll="b NOUN\na VERB\n")
    assert LabeledDataset.load(Conll(tmp_path), "test").labels_from_ids("test", np.array([-1, 1])) == [(None, "VERB")]


def test_the_most_frequent_tag_of_a_word_is_that_of_train(tmp_path: Path) -> None:
    put(tmp_path, train_conll="a X\nb O\n\na Y\na Y\nc O\nc O\n", test_conll="a X\nnew O\n\nb O\n")
    data = LabeledDataset.load(Conll(tmp_path), "test")
    assert data.most_frequent_tags("test") == [("Y", "O"), ("O",)]
    systems = evaluate_predictions(data, "test", "x", np.array([0, 0, 0])).systems
    assert [system.name for system in systems] == ["majority label", "most frequent tag", "x"]


def test_a_single_label_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\tx\nb\tx\n", test_tsv="c\tx\n")
    with pytest.raises(DataError, match="all texts of train have the label 'x'. Give examples"):
        LabeledDataset.load(Tsv(tmp_path), "test")


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\tx\nb\ty\n", dev_tsv="c\tx\n")
    with pytest.raises(DataError, match=r"has no test.tsv \(the folder contains dev.tsv, train.tsv\)"):
        LabeledDataset.load(Tsv(tmp_path), "test")
    assert list(LabeledDataset.load(Tsv(tmp_path), "dev").splits) == ["train", "dev"]


def test_labels_and_texts_that_do_not_match_train(tmp_path: Path) -> None:
    put(tmp_path, train_tsv="a\tx\nb\ty\n", test_tsv="c\tx\nd\tz\n")
    with pytest.warns(
        UserWarning, match=r"1 of 2 texts of test have labels that are not in train \('z'\) and count as wrong"
    ):
        data = LabeledDataset.load(Tsv(tmp_path), "test")
    assert [ids.tolist() for ids in data.label_ids("test")] == [[0], [-1]]
    put(tmp_path, test_tsv="a\ty\nd\tx\n")
    with pytest.warns(UserWarning, match="1 of the 2 texts of test also occur in train"):
        LabeledDataset.load(Tsv(tmp_path), "test")
    put(tmp_path, test_tsv="c\tu\nd\tv\n")
    with pytest.raises(DataError, match=r"train has none of the labels of test \('u', 'v'\)"):
        LabeledDataset.load(Tsv(tmp_path), "test")
    put(tmp_path, train_jsonl=AS_JSON, test_jsonl='{"words": ["a"], "tags": ["O"]}')
    with pytest.raises(DataError, match="train has labels of texts, but test does not"):
        LabeledDataset.load(Jsonl(tmp_path), "test")

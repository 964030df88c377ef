"""Classifiers of texts and of words: what is saved is transformers' own, and what is learnt can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

import toys
from encloze.cli.main import main
from encloze.commands.finetune_classifier import FinetuneClassifier
from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.models.classifier import Classifier
from encloze.models.reading import read
from encloze.text.words import encode_marked, pad_marked
from encloze.training.classifying import ClassifierModule, LabelledBatches
from encloze.training.state import Unfinished

KINDS = ("bert", "roberta", "xlm_roberta", "distilbert", "mpnet", "deberta_v2", "electra", "modernbert")
Said = pytest.CaptureFixture[str]


def saved(folder: Path, kind: str = "bert", dropout: float = 0.0) -> Path:
    """A tiny encoder with its tokenizer."""
    folder.mkdir()
    tokenizer = toys.tokenizer()
    toys.encoder(kind, tokenizer.size, dropout=dropout).save(folder)
    tokenizer.save(folder, 64)
    return folder


def run(output: Path, folder: Path, start: Path, *more: Any) -> int:
    how = ("--training.steps", 12, "--training.precision", "float32", "--batch_size", 8, "--training.log_every", 2)
    words = ("--dataset", folder, "--model", start, "--output", output, *how, *more)
    return main(["finetune_classifier", *map(str, words)])


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_classifier_is_transformers_own(kind: str, tagged: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = ("O", "B-SUBJECT", "other")
    classifier = Classifier.load(str(saved(tmp_path / "start", kind)), labels, of_words=tagged, max_tokens=40)
    (tmp_path / "made").mkdir()
    classifier.save(tmp_path / "made")
    auto = AutoModelForTokenClassification if tagged else AutoModelForSequenceClassification
    model, report = auto.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert model.config.id2label == dict(enumerate(labels)) and model.config.label2id["other"] == 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    assert isinstance(tokenizer, PreTrainedTokenizerFast) and tokenizer.model_max_length == 40
    folder = toys.write_labelled(tmp_path / "set", tagged=tagged)
    examples = LabelledSet.open(Labels.named(str(folder)), "test").parts["test"]
    texts = encode_marked(examples, classifier.tokenizer)
    found = read(texts, classifier, classifier.tokenizer, 40, torch.device("cpu"), "float32", "Reading")
    expected = []
    for example in examples:
        words: Any = list(example.words) if example.words else example.text
        given = tokenizer(words, is_split_into_words=tagged, return_tensors="pt")
        with torch.no_grad():
            logits = model.eval()(input_ids=given["input_ids"]).logits[0]
        expected += [logits[given.word_ids().index(n)] for n in range(len(words))] if tagged else [logits]
    np.testing.assert_allclose(found, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("tagged", [False, True])
def test_a_classifier_learns_and_is_judged(tagged: bool, tmp_path: Path, capsys: Said) -> None:
    folder, output = toys.write_labelled(tmp_path / "set", tagged=tagged), tmp_path / "made"
    more = ("--training.encoder_learning_rate", 3e-3, "--training.learning_rate", 1e-2, "--training.steps", 60)
    assert run(output, folder, saved(tmp_path / "start"), *more) == 0
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert log[-1]["cross_entropy"] < 0.3 * log[0]["cross_entropy"] and log[-1]["right"] > 0.9
    said = " ".join(capsys.readouterr().out.split())
    assert "set, dev: 8 texts" in said and "set, test: 8 texts" in said and ("span F1" in said) == tagged
    for split in ("dev", "test"):
        systems = json.loads((output / f"report-{split}.json").read_text())["systems"]
        always, *_, made = (system["measures"]["macro F1"]["mean"] for system in systems)
        assert made > always and systems[-1]["name"] == "made"
    card = (output / "README.md").read_text()
    assert f"pipeline_tag: {'token' if tagged else 'text'}-classification" in card and "encloze.json" not in card
    again = ("--training.steps", 1)  # a classifier of the same labels goes on with its head
    assert run(tmp_path / "rerun", folder, output, *again) == 0
    assert "gets a new one" not in capsys.readouterr().err
    assert main(["probe", "--dataset", str(folder), "--model", str(output), "--pooling", "mean"]) == 0


@pytest.mark.parametrize("tagged", [False, True])
def test_a_killed_training_ends_as_if_it_had_not_been(
    tagged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    folder, start = toys.write_labelled(tmp_path / "set", tagged=tagged), saved(tmp_path / "start", dropout=0.1)
    more = ("--training.save_every", 4)
    assert run(tmp_path / "whole", folder, start, *more) == 0

    class Killed(BaseException):
        """The process is gone."""

    write = Unfinished.write_log

    def until_step_ten(self: Unfinished, entry: dict[str, Any]) -> None:
        if entry["step"] == 10:
            raise Killed
        write(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "write_log", until_step_ten)
        with pytest.raises(Killed):
            run(tmp_path / "killed", folder, start, *more)
    assert not (tmp_path / "killed").exists()
    assert run(tmp_path / "killed", folder, start, *more, "--resume") == 0
    assert "Going on from step 8 of 12" in capsys.readouterr().err
    for name in ("model.safetensors", "config.json", "guesses-test.jsonl", "guesses-dev.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert not (tmp_path / "killed.unfinished").exists()


def test_words_that_are_cut_off_are_neither_learnt_nor_right(tmp_path: Path, capsys: Said) -> None:
    folder = toys.write_labelled(tmp_path / "set", tagged=True)
    data = LabelledSet.open(Labels.named(str(folder)), "test")
    classifier = Classifier.load(str(saved(tmp_path / "start")), data.names, of_words=True, max_tokens=5)
    texts = encode_marked(data.parts["train"], classifier.tokenizer)
    batches = LabelledBatches(classifier, texts, data.codes("train"))
    batch = batches(np.arange(24), 0, torch.device("cpu"))
    kept = pad_marked(texts, classifier.tokenizer, 5).kept
    assert batch.counts()["cross_entropy"] == kept.sum() < len(kept)
    terms = ClassifierModule(classifier)(batch)
    logits = classifier(batch.reading).log_softmax(dim=1)
    torch.testing.assert_close(terms.sums["cross_entropy"], -logits[range(len(logits)), batch.labels].sum())
    guessed = classifier.guess(texts, "train", "float32")
    assert (guessed[~kept] == -1).all() and (guessed[kept] >= 0).all()
    nothing = batches(np.arange(2), 0, torch.device("cpu"))._replace(labels=batch.labels[:0])
    none = ClassifierModule(classifier)(
        nothing._replace(reading=nothing.reading._replace(places=batch.reading.places[:0]))
    )
    assert none.sums["cross_entropy"] == 0 and none.sums["cross_entropy"].requires_grad
    assert run(tmp_path / "made", folder, tmp_path / "start", "--max_tokens", 5, "--training.steps", 1) == 0
    assert "of the texts of train (24 of 24) are cut at 5 tokens" in " ".join(capsys.readouterr().err.split())


def test_the_head_learns_faster_than_the_encoder(tmp_path: Path) -> None:
    classifier = Classifier.load(str(saved(tmp_path / "start")), ("a", "b"), of_words=False)
    own = {id(parameter) for parameter in classifier.encoder_parameters()}
    new = {name for name, parameter in classifier.model.named_parameters() if id(parameter) not in own}
    rates = FinetuneClassifier(Labels.named(str(toys.write_labelled(tmp_path / "set"))), "m", tmp_path).training
    assert (rates.encoder_learning_rate or 1) < rates.learning_rate
    assert new == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--split", "train"), "split is train, which is learnt from"),
        (("--max_tokens", "4096"), "max_tokens is 4096, and"),
        (("--max_tokens", "2"), "max_tokens must be 3 or more"),
        (("--batch_size", "0"), "batch_size must be 1 or more"),
        (("--split", "later"), "has no later.jsonl"),
    ],
)
def test_what_cannot_be_learnt_is_refused(flags: tuple[str, str], says: str, tmp_path: Path, capsys: Said) -> None:
    folder = toys.write_labelled(tmp_path / "set")
    assert run(tmp_path / "made", folder, saved(tmp_path / "start"), *flags) == 2
    assert says in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.glob("made*"))


def test_a_classifier_of_other_labels_is_refused(tmp_path: Path, capsys: Said) -> None:
    start = saved(tmp_path / "start")
    (tmp_path / "other").mkdir()
    Classifier.load(str(start), ("a", "b"), of_words=False).save(tmp_path / "other")
    for tagged in (False, True):
        folder = toys.write_labelled(tmp_path / f"set{tagged}", tagged=tagged)
        assert run(tmp_path / "made", folder, tmp_path / "other") == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "is a BertForSequenceClassification already, for other labels (a, b) than the data has (" in said
        assert "Start from the encoder that it was made from" in said and not list(tmp_path.glob("made*"))

"""Classifiers of texts and of words: saved in the layout of transformers, trained, evaluated and resumed."""

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
from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.models.classifier import Classifier
from encloze.models.classifier_inputs import run_in_batches
from encloze.storage.run_state import RunState
from encloze.text.labeled import encode_labeled, pad_labeled
from encloze.training.classification import ClassifierModule, LabeledBatches

KINDS = ("bert", "roberta", "xlm_roberta", "distilbert", "mpnet", "deberta_v2", "electra", "modernbert")
Capture = pytest.CaptureFixture[str]


def save_encoder(folder: Path, kind: str = "bert", dropout: float = 0.0) -> Path:
    """Save a tiny encoder with its tokenizer."""
    folder.mkdir()
    tokenizer = toys.tokenizer()
    toys.encoder(kind, tokenizer.vocab_size, dropout=dropout).save(folder)
    tokenizer.save(folder, 64)
    return folder


def run(output: Path, folder: Path, model: Path, *flags: Any) -> int:
    """Train a classifier by the command line."""
    settings = (
        "--training.steps",
        12,
        "--training.precision",
        "float32",
        "--batch_size",
        8,
        "--training.logging_steps",
        2,
    )
    arguments = (
        "--dataset",
        folder,
        "--model",
        model,
        "--output",
        output,
        *settings,
        "--training.logging_steps",
        2,
        *flags,
    )
    return main(["finetune_classifier", *map(str, arguments)])


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_a_saved_classifier_with_the_same_logits(kind: str, tagged: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = ("O", "B-SUBJECT", "other")
    classifier = Classifier.load(str(save_encoder(tmp_path / "start", kind)), labels, of_words=tagged, max_tokens=40)
    (tmp_path / "classifier").mkdir()
    classifier.save(tmp_path / "classifier")
    auto = AutoModelForTokenClassification if tagged else AutoModelForSequenceClassification
    model, report = auto.from_pretrained(tmp_path / "classifier", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert model.config.id2label == dict(enumerate(labels)) and model.config.label2id["other"] == 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "classifier")
    assert isinstance(tokenizer, PreTrainedTokenizerFast) and tokenizer.model_max_length == 40
    folder = toys.write_labelled(tmp_path / "set", tagged=tagged)
    examples = LabeledDataset.load(LabelFormat.from_name(str(folder)), "test").splits["test"]
    texts = encode_labeled(examples, classifier.tokenizer)
    cpu = torch.device("cpu")
    logits = run_in_batches(texts, classifier, classifier.tokenizer, 40, cpu, "float32", "Encoding")
    expected = []
    for example in examples:
        words: Any = list(example.words) if example.words else example.text
        encoded = tokenizer(words, is_split_into_words=tagged, return_tensors="pt")
        with torch.no_grad():
            rows = model.eval()(input_ids=encoded["input_ids"]).logits[0]
        expected += [rows[encoded.word_ids().index(n)] for n in range(len(words))] if tagged else [rows]
    np.testing.assert_allclose(logits, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("tagged", [False, True])
def test_a_classifier_is_trained_and_evaluated(tagged: bool, tmp_path: Path, capsys: Capture) -> None:
    folder, output = toys.write_labelled(tmp_path / "set", tagged=tagged), tmp_path / "classifier"
    flags = ("--training.encoder_learning_rate", 3e-3, "--training.learning_rate", 1e-2, "--training.steps", 60)
    assert run(output, folder, save_encoder(tmp_path / "start"), *flags) == 0
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert log[-1]["cross_entropy"] < 0.3 * log[0]["cross_entropy"] and log[-1]["accuracy"] > 0.9
    printed = " ".join(capsys.readouterr().out.split())
    assert "set, dev: 8 texts" in printed and "set, test: 8 texts" in printed and ("span F1" in printed) == tagged
    for split in ("dev", "test"):
        systems = json.loads((output / f"report-{split}.json").read_text())["systems"]
        majority, *_, trained = (system["measures"]["macro F1"]["mean"] for system in systems)
        assert trained > majority and systems[-1]["name"] == "classifier"
    card = (output / "README.md").read_text()
    assert f"pipeline_tag: {'token' if tagged else 'text'}-classification" in card and "encloze.json" not in card
    # A classifier with the same labels keeps its head.
    assert run(tmp_path / "again", folder, output, "--training.steps", 1) == 0
    assert "initialized randomly" not in capsys.readouterr().err
    assert main(["probe", "--dataset", str(folder), "--model", str(output), "--pooling", "mean"]) == 0


@pytest.mark.parametrize("tagged", [False, True])
def test_an_interrupted_training_is_resumed_to_the_same_weights(
    tagged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder, start = toys.write_labelled(tmp_path / "set", tagged=tagged), save_encoder(tmp_path / "start", dropout=0.1)
    flags = ("--training.save_steps", 4)
    assert run(tmp_path / "whole", folder, start, *flags) == 0

    class Killed(BaseException):
        """The process is killed."""

    write = RunState.append_log

    def killed_in_step_10(self: RunState, entry: dict[str, Any]) -> None:
        if entry["step"] == 10:
            raise Killed
        write(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "append_log", killed_in_step_10)
        with pytest.raises(Killed):
            run(tmp_path / "killed", folder, start, *flags)
    assert not (tmp_path / "killed").exists()
    assert run(tmp_path / "killed", folder, start, *flags, "--resume") == 0
    assert "Resuming from step 8 of 12" in capsys.readouterr().err
    for name in ("model.safetensors", "config.json", "predictions-test.jsonl", "predictions-dev.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert not (tmp_path / "killed.checkpoint").exists()


def test_truncated_words_are_not_trained_on_and_have_no_prediction(tmp_path: Path, capsys: Capture) -> None:
    folder = toys.write_labelled(tmp_path / "set", tagged=True)
    data = LabeledDataset.load(LabelFormat.from_name(str(folder)), "test")
    classifier = Classifier.load(str(save_encoder(tmp_path / "start")), data.label_names, of_words=True, max_tokens=5)
    texts = encode_labeled(data.splits["train"], classifier.tokenizer)
    batches = LabeledBatches(classifier, texts, data.label_ids("train"))
    batch = batches(np.arange(24), 0, torch.device("cpu"))
    seen = pad_labeled(texts, classifier.tokenizer, 5).label_mask
    assert batch.counts()["cross_entropy"] == seen.sum() < len(seen)
    output = ClassifierModule(classifier)(batch)
    logits = classifier(batch.texts).log_softmax(dim=1)
    torch.testing.assert_close(output.sums["cross_entropy"], -logits[range(len(logits)), batch.labels].sum())
    predictions = classifier.predict(texts, "train", "float32")
    assert (predictions[~seen] == -1).all() and (predictions[seen] >= 0).all()
    empty = batches(np.arange(2), 0, torch.device("cpu"))._replace(labels=batch.labels[:0])
    loss = ClassifierModule(classifier)(
        empty._replace(texts=empty.texts._replace(word_positions=batch.texts.word_positions[:0]))
    )
    assert loss.sums["cross_entropy"] == 0 and loss.sums["cross_entropy"].requires_grad
    assert run(tmp_path / "classifier", folder, tmp_path / "start", "--max_tokens", 5, "--training.steps", 1) == 0
    assert "of the texts of train (24 of 24) are truncated to 5 tokens" in " ".join(capsys.readouterr().err.split())


def test_the_head_has_a_higher_learning_rate_than_the_encoder(tmp_path: Path) -> None:
    classifier = Classifier.load(str(save_encoder(tmp_path / "start")), ("a", "b"), of_words=False)
    own = {id(parameter) for parameter in classifier.encoder_parameters()}
    new = {name for name, parameter in classifier.model.named_parameters() if id(parameter) not in own}
    rates = FinetuneClassifier(
        LabelFormat.from_name(str(toys.write_labelled(tmp_path / "set"))), "m", tmp_path
    ).training
    assert (rates.encoder_learning_rate or 1) < rates.learning_rate
    assert new == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--split", "train"), "split must not be train"),
        (("--max_tokens", "4096"), "max_tokens is 4096, but"),
        (("--max_tokens", "2"), "but must be 3 or more"),
        (("--batch_size", "0"), "batch_size must be 1 or more"),
        (("--split", "later"), "has no later.jsonl"),
    ],
)
def test_invalid_settings_are_refused(flags: tuple[str, str], message: str, tmp_path: Path, capsys: Capture) -> None:
    folder = toys.write_labelled(tmp_path / "set")
    assert run(tmp_path / "classifier", folder, save_encoder(tmp_path / "start"), *flags) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.glob("classifier*"))


def test_a_classifier_with_other_labels_is_refused(tmp_path: Path, capsys: Capture) -> None:
    start = save_encoder(tmp_path / "start")
    (tmp_path / "other").mkdir()
    Classifier.load(str(start), ("a", "b"), of_words=False).save(tmp_path / "other")
    for tagged in (False, True):
        folder = toys.write_labelled(tmp_path / f"set{tagged}", tagged=tagged)
        assert run(tmp_path / "classifier", folder, tmp_path / "other") == 2
        printed = " ".join(capsys.readouterr().err.split())
        assert (
            "is already a BertForSequenceClassification with the labels (a, b), but the dataset has the labels ("
            in printed
        )
        assert "Start from the encoder that it was fine-tuned from" in printed and not list(
            tmp_path.glob("classifier*")
        )


def test_a_classifier_with_fewer_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = toys.write_labelled(tmp_path / "data"), save_encoder(tmp_path / "model")
    assert run(tmp_path / "small", data, model, "--layers", 1, "--training.steps", 2) == 0
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 1
    assert run(tmp_path / "wrong", data, model, "--layers", 9) == 2
    assert "layers: the model has 2 layers" in capsys.readouterr().err

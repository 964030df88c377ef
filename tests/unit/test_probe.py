"""Tests of the linear probe, which is a logistic regression of scikit-learn on cached features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel

import toys
from encloze.backbones.base import Backbone
from encloze.cli.main import main
from encloze.commands.probe import Probe
from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.errors import DataError
from encloze.models.frozen import FrozenEncoder
from encloze.progress import Listener, use_listener
from encloze.text.labeled import encode_labeled
from encloze.training.linear_probe import LabeledFeatures, linear_probe

Said = pytest.CaptureFixture[str]


def run(*words: Any) -> int:
    return main(["probe", *map(str, words)])


@pytest.mark.parametrize("tagged", [False, True])
def test_probe_equals_logistic_regression_on_hidden_states(tagged: bool, model: Path, tmp_path: Path) -> None:
    folder = toys.write_labelled(tmp_path / "set", tagged=tagged)
    task = Probe(LabelFormat.from_name(str(folder)), str(model), pooling="mean", penalties=(10.0,), precision="float32")
    report = task.run()
    data, tokenizer = LabeledDataset.load(task.dataset, "test"), toys.tokenizer()
    encoder = AutoModel.from_pretrained(model, add_pooling_layer=False).eval()

    def rows(split: str) -> np.ndarray:
        found = []
        for example in data.splits[split]:
            encoding = tokenizer.backend.encode(example.words or example.text, is_pretokenized=tagged)
            with torch.no_grad():
                hidden = encoder(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0].numpy()
            words = [encoding.word_ids.index(number) for number in range(len(example.labels))]
            found += [hidden[place] for place in words] if tagged else [hidden.mean(axis=0)]
        return np.stack(found)

    scaler = StandardScaler().fit(rows("train"))
    plain = LogisticRegression(C=0.1, max_iter=500)
    plain.fit(scaler.transform(rows("train")), np.concatenate(data.label_ids("train")))
    expected = plain.predict(scaler.transform(rows("test")))
    guessed = [label for labels in report.systems[-1].labels for label in labels]
    assert np.mean([data.label_names[code] == label for code, label in zip(expected, guessed, strict=True)]) > 0.98
    always, *_, probed = report.means.values()
    assert probed["macro F1"].low > always["macro F1"].high
    assert ("span F1" in probed) == tagged


def test_features_are_computed_once_and_cached(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = FrozenEncoder.load(str(model), precision="float32")
    examples = LabeledDataset.load(LabelFormat.from_name(str(toys.write_labelled(tmp_path / "set"))), "test").splits[
        "test"
    ]
    texts = encode_labeled(examples, encoder.tokenizer)
    first = encoder.cached_features(examples, texts, "test")
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "encode", lambda *_: pytest.fail("the texts were encoded again"))
        np.testing.assert_array_equal(encoder.cached_features(examples, texts, "test"), first)
    assert len(list((cache / "features").iterdir())) == 2  # the features and their checksum
    others = [FrozenEncoder.load(str(model), *how, precision="float32") for how in (("mean", None), ("cls", 8))]
    for other in others:
        assert not np.allclose(other.cached_features(examples, texts, "test"), first)
    assert len(list((cache / "features").glob("*.npy"))) == 3


def separable_rows() -> LabeledFeatures:
    """Return two classes that are nearly separable by one of sixty features."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    features = generator.normal(size=(200, 60)).astype(np.float32)
    features[:, 0] += 2 * labels
    return LabeledFeatures(features, labels, np.arange(200) // 2)


def reference_predictions(train: LabeledFeatures, rows: LabeledFeatures, penalty: float) -> np.ndarray:
    """Return the predictions of a logistic regression of scikit-learn."""
    scaler = StandardScaler().fit(train.features)
    model = LogisticRegression(C=1 / penalty, max_iter=500).fit(scaler.transform(train.features), train.label_ids)
    return np.asarray(model.predict(scaler.transform(rows.features)))


def test_penalty_is_selected_on_dev() -> None:
    rows = separable_rows()
    is_train = np.arange(200) < 60
    train, dev = rows.select(is_train), rows.select(~is_train)
    penalties = (1000.0, 30.0, 0.001)
    scores = [f1_score(dev.label_ids, reference_predictions(train, dev, p), average="macro") for p in penalties]
    best = int(np.argmax(scores))
    result = linear_probe({"train": train, "dev": dev}, "test", penalties, 0)
    note = f"penalty {penalties[best]:g} of 0.001, 30, 1000, selected on dev (macro F1 {scores[best]:.4f})"
    assert len(set(scores)) == 3 and result.note == note
    np.testing.assert_array_equal(result.predict(dev), reference_predictions(train, dev, penalties[best]))


def test_penalty_is_selected_by_cross_validation_without_dev() -> None:
    rows, penalties = separable_rows(), (1000.0, 30.0, 0.001)
    folds = [np.isin(rows.texts, fold) for _, fold in KFold(5, shuffle=True, random_state=3).split(np.arange(100))]
    scores = []
    for penalty in penalties:
        predictions = np.full(200, -1)
        for fold in folds:
            predictions[fold] = reference_predictions(rows.select(~fold), rows.select(fold), penalty)
        scores.append(f1_score(rows.label_ids, predictions, average="macro"))
    best = int(np.argmax(scores))
    result = linear_probe({"train": rows}, "test", penalties, 3)
    note = f"penalty {penalties[best]:g} of 0.001, 30, 1000, selected by 5-fold cross-validation on train (macro F1 "
    assert len(set(scores)) == 3 and result.note == f"{note}{scores[best]:.4f})"
    np.testing.assert_array_equal(result.predict(rows), reference_predictions(rows, rows, penalties[best]))


def test_small_train_splits() -> None:
    rows = separable_rows()
    one_label_in_a_fold = LabeledFeatures(rows.features[:9], np.array([0] * 8 + [1]), np.arange(9))
    result = linear_probe({"train": one_label_in_a_fold}, "test", (1.0, 10.0), 0)
    assert result.model.predict(rows.features[:1]).shape == (1,)
    single_text = {"train": rows._replace(texts=np.zeros(200, np.int64))}
    with pytest.raises(DataError, match="the split train has a single text, so the penalty cannot be selected"):
        linear_probe(single_text, "test", (1.0, 10.0), 0)
    assert linear_probe(single_text, "test", (10.0,), 0).note == "penalty 10"


class NoteRecorder(Listener):
    """Keeps progress notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_note_if_the_probe_does_not_converge() -> None:
    with use_listener(NoteRecorder()) as recorder:
        linear_probe({"train": separable_rows()}, "test", (0.001,), 0, max_iterations=1)
    assert recorder.notes == ["With penalty 0.001 the probe did not converge in 1 iterations"]  # type: ignore[attr-defined]


def test_report_is_printed_and_written(model: Path, tmp_path: Path, capsys: Said) -> None:
    folder = toys.write_labelled(tmp_path / "set", dev=False)
    given = ("--dataset", folder, "--model", model, "--pooling", "mean")
    assert run(*given) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "set, test: 8 texts, with 95 % bootstrap intervals" in said
    assert "majority label: 'dangers' in train" in said and "by 5-fold cross-validation on train" in said
    assert run(*given, "--output", tmp_path / "probed") == 0
    for name in ("report-test.md", "report-test.json", "recipe.yaml", "inputs.json", "manifest.json"):
        assert (tmp_path / "probed" / name).is_file()
    predictions = [
        json.loads(line) for line in (tmp_path / "probed" / "predictions-test.jsonl").read_text().splitlines()
    ]
    assert len(predictions) == 8 and set(predictions[0]) == {"text", "label", "prediction"}
    assert run(*given, "--output", tmp_path / "probed") == 2
    assert "exists already" in capsys.readouterr().err


def test_truncated_words_are_reported_and_predicted_as_o(model: Path, tmp_path: Path, capsys: Said) -> None:
    folder = toys.write_labelled(tmp_path / "set", tagged=True)
    assert run("--dataset", folder, "--model", model, "--max_tokens", 8, "--output", tmp_path / "probed") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "100.0% of the texts of test (8 of 8) are truncated to 8 tokens (max_tokens)" in said
    assert "words of test are truncated or have no token: they are not used in training" in said
    assert "in evaluation they are labeled O" in said
    lines = (tmp_path / "probed" / "predictions-test.jsonl").read_text().splitlines()
    assert all(json.loads(line)["predictions"][7:] == ["O"] * (len(json.loads(line)["words"]) - 7) for line in lines)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--split", "train"), "split must not be train, which the probe is fitted on"),
        (("--max_tokens", "2"), "max_tokens must be 3 or more"),
        (("--max_tokens", "4096"), "max_tokens is 4096, but"),
        (("--penalties", "[1, 0]"), "penalties must be one or more numbers above 0"),
        (("--split", "later"), "has no later.jsonl (the folder contains dev.jsonl, test.jsonl, train.jsonl)"),
        (("--dataset.label_field", "kind"), 'train.jsonl:1: missing field "kind" (fields: "text", "label")'),
    ],
)
def test_wrong_settings_are_refused(
    flags: tuple[str, str], says: str, model: Path, tmp_path: Path, capsys: Said
) -> None:
    folder = toys.write_labelled(tmp_path / "set")
    assert run("--dataset", folder, "--model", model, "--output", tmp_path / "probed", *flags) == 2
    assert says in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.glob("probed*"))


@pytest.mark.parametrize("verb", ["probe", "finetune_classifier"])
def test_model_without_tokenizer_is_refused(verb: str, model: Path, tmp_path: Path, capsys: Said) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    folder = toys.write_labelled(tmp_path / "set")
    assert main([verb, "--dataset", str(folder), "--model", str(model), "--output", str(tmp_path / "out")]) == 2
    said = f"{model} has no tokenizer.json and no other tokenizer that can be loaded (the folder also lacks vocab.txt)"
    assert said in capsys.readouterr().err and not list(tmp_path.glob("out*"))

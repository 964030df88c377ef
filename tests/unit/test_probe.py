"""A probe is scikit-learn's logistic regression on what the encoder says, which is worked out once."""

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
from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.errors import DataError
from encloze.models.frozen import FrozenEncoder
from encloze.progress import Listener, listening
from encloze.text.words import encode_marked
from encloze.training import probing
from encloze.training.probing import Rows, probe

Said = pytest.CaptureFixture[str]


def run(*words: Any) -> int:
    return main(["probe", *map(str, words)])


@pytest.mark.parametrize("tagged", [False, True])
def test_the_probe_is_a_logistic_regression_on_hidden_states(tagged: bool, model: Path, tmp_path: Path) -> None:
    folder = toys.write_labelled(tmp_path / "set", tagged=tagged)
    task = Probe(Labels.named(str(folder)), str(model), pooling="mean", penalties=(10.0,), precision="float32")
    report = task.run()
    data, tokenizer = LabelledSet.open(task.dataset, "test"), toys.tokenizer()
    encoder = AutoModel.from_pretrained(model, add_pooling_layer=False).eval()

    def rows(split: str) -> np.ndarray:
        found = []
        for example in data.parts[split]:
            encoding = tokenizer.core.encode(example.words or example.text, is_pretokenized=tagged)
            with torch.no_grad():
                hidden = encoder(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0].numpy()
            words = [encoding.word_ids.index(number) for number in range(len(example.labels))]
            found += [hidden[place] for place in words] if tagged else [hidden.mean(axis=0)]
        return np.stack(found)

    scaler = StandardScaler().fit(rows("train"))
    plain = LogisticRegression(C=0.1, max_iter=500)
    plain.fit(scaler.transform(rows("train")), np.concatenate(data.codes("train")))
    expected = plain.predict(scaler.transform(rows("test")))
    guessed = [label for labels in report.systems[-1].labels for label in labels]
    assert np.mean([data.names[code] == label for code, label in zip(expected, guessed, strict=True)]) > 0.98
    always, *_, probed = report.means.values()
    assert probed["macro F1"].low > always["macro F1"].high
    assert ("span F1" in probed) == tagged


def test_vectors_are_made_once_and_found_again(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = FrozenEncoder.load(str(model), precision="float32")
    examples = LabelledSet.open(Labels.named(str(toys.write_labelled(tmp_path / "set"))), "test").parts["test"]
    texts = encode_marked(examples, encoder.tokenizer)
    first = encoder.features(examples, texts, "test")
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "encode", lambda *_: pytest.fail("the texts were read again"))
        np.testing.assert_array_equal(encoder.features(examples, texts, "test"), first)
    assert len(list((cache / "features").iterdir())) == 1  # nothing half-written, either
    others = [FrozenEncoder.load(str(model), *how, precision="float32") for how in (("mean", None), ("cls", 8))]
    for other in others:
        assert not np.allclose(other.features(examples, texts, "test"), first)
    assert len(list((cache / "features").iterdir())) == 3


def rows_with_a_sign() -> Rows:
    """Two labels that one of sixty numbers tells apart, nearly."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 2, 200)
    features = draw.normal(size=(200, 60)).astype(np.float32)
    features[:, 0] += 2 * codes
    return Rows(features, codes, np.arange(200) // 2)


def guessed(train: Rows, other: Rows, penalty: float) -> np.ndarray:
    """A plain probe."""
    scaler = StandardScaler().fit(train.features)
    plain = LogisticRegression(C=1 / penalty, max_iter=500).fit(scaler.transform(train.features), train.codes)
    return np.asarray(plain.predict(scaler.transform(other.features)))


def test_the_best_penalty_on_dev_is_chosen() -> None:
    rows = rows_with_a_sign()
    first = np.arange(200) < 60
    train, dev = rows.where(first), rows.where(~first)
    order = (1000.0, 30.0, 0.001)
    scores = [f1_score(dev.codes, guessed(train, dev, penalty), average="macro") for penalty in order]
    best = int(np.argmax(scores))
    found = probe(train, dev, order, 0)
    said = f"penalty {order[best]:g} of 0.001, 30, 1000, chosen on dev (macro F1 {scores[best]:.4f})"
    assert len(set(scores)) == 3 and found.note == said
    np.testing.assert_array_equal(found.model.predict(dev.features), guessed(train, dev, order[best]))


def test_without_dev_parts_of_train_choose_the_penalty() -> None:
    rows, order = rows_with_a_sign(), (1000.0, 30.0, 0.001)
    parts = [np.isin(rows.texts, held) for _, held in KFold(5, shuffle=True, random_state=3).split(np.arange(100))]
    scores = []
    for penalty in order:
        codes = np.full(200, -1)
        for part in parts:
            codes[part] = guessed(rows.where(~part), rows.where(part), penalty)
        scores.append(f1_score(rows.codes, codes, average="macro"))
    best = int(np.argmax(scores))
    found = probe(rows, None, order, 3)
    said = f"penalty {order[best]:g} of 0.001, 30, 1000, chosen by cross-validation in 5 parts of train (macro F1 "
    assert len(set(scores)) == 3 and found.note == f"{said}{scores[best]:.4f})"
    np.testing.assert_array_equal(found.model.predict(rows.features), guessed(rows, rows, order[best]))


def test_a_small_train_is_enough_or_refused() -> None:
    rows = rows_with_a_sign()
    single = Rows(rows.features[:9], np.array([0] * 8 + [1]), np.arange(9))  # one part has one label alone
    assert probe(single, None, (1.0, 10.0), 0).model.predict(rows.features[:1]).shape == (1,)
    alone = rows._replace(texts=np.zeros(200, np.int64))
    with pytest.raises(DataError, match="train has one text alone: too few to choose a penalty with"):
        probe(alone, None, (1.0, 10.0), 0)
    assert probe(alone, None, (10.0,), 0).note == "penalty 10"


class Heard(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_probe_that_is_not_done_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_ITERATIONS", 1)
    heard = Heard()
    with listening(heard):
        probe(rows_with_a_sign(), None, (0.001,), 0)
    assert heard.notes == ["With penalty 0.001 the probe is not quite done after 1 iterations"]


def test_a_probe_is_shown_and_written(model: Path, tmp_path: Path, capsys: Said) -> None:
    folder = toys.write_labelled(tmp_path / "set", dev=False)
    given = ("--dataset", folder, "--model", model, "--pooling", "mean")
    assert run(*given) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "set, test: 8 texts, with 95 % bootstrap intervals" in said
    assert "commonest label: 'dangers', by train" in said and "by cross-validation in 5 parts of train" in said
    assert run(*given, "--output", tmp_path / "probed") == 0
    for name in ("report-test.md", "report-test.json", "recipe.yaml", "inputs.json", "manifest.json"):
        assert (tmp_path / "probed" / name).is_file()
    guesses = [json.loads(line) for line in (tmp_path / "probed" / "guesses-test.jsonl").read_text().splitlines()]
    assert len(guesses) == 8 and set(guesses[0]) == {"text", "label", "guess"}
    assert run(*given, "--output", tmp_path / "probed") == 2
    assert "exists already" in capsys.readouterr().err


def test_what_is_cut_is_said_and_counts_as_o(model: Path, tmp_path: Path, capsys: Said) -> None:
    folder = toys.write_labelled(tmp_path / "set", tagged=True)
    assert run("--dataset", folder, "--model", model, "--max_tokens", 8, "--output", tmp_path / "probed") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "100.0% of the texts of test (8 of 8) are cut at 8 tokens (max_tokens)" in said
    assert (
        "words of test are cut off or have no token: nothing is learnt from them, and they count as guessed as O"
        in said
    )
    lines = (tmp_path / "probed" / "guesses-test.jsonl").read_text().splitlines()
    assert all(json.loads(line)["guesses"][7:] == ["O"] * (len(json.loads(line)["words"]) - 7) for line in lines)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--split", "train"), "split is train, which is learnt from: judge on another part"),
        (("--max_tokens", "2"), "max_tokens must be 3 or more"),
        (("--max_tokens", "4096"), "max_tokens is 4096, and"),
        (("--penalties", "[1, 0]"), "penalties must be one or more numbers above 0"),
        (("--split", "later"), "has no later.jsonl (it holds dev.jsonl, test.jsonl, train.jsonl)"),
        (("--dataset.label_field", "kind"), 'train.jsonl:1: no "kind" field (it has "text", "label")'),
    ],
)
def test_what_cannot_be_probed_is_refused(
    flags: tuple[str, str], says: str, model: Path, tmp_path: Path, capsys: Said
) -> None:
    folder = toys.write_labelled(tmp_path / "set")
    assert run("--dataset", folder, "--model", model, "--output", tmp_path / "probed", *flags) == 2
    assert says in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.glob("probed*"))


@pytest.mark.parametrize("verb", ["probe", "finetune_classifier"])
def test_a_model_without_a_tokenizer_is_refused(verb: str, model: Path, tmp_path: Path, capsys: Said) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    folder = toys.write_labelled(tmp_path / "set")
    assert main([verb, "--dataset", str(folder), "--model", str(model), "--output", str(tmp_path / "out")]) == 2
    said = f"{model} has no tokenizer.json, and no tokenizer of another kind that can be loaded (there is no"
    assert said in capsys.readouterr().err and not list(tmp_path.glob("out*"))

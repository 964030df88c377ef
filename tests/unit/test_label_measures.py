"""Measures of guessed labels are scikit-learn's and conlleval's, and their intervals those of drawing texts anew."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from encloze.data.records import Labelled
from encloze.evaluation.labels import LabelPredictions, LabelReport
from encloze.evaluation.significance import bootstrap_of_sums
from encloze.evaluation.spans import has_spans, spans

TAGS = [f"{prefix}-{kind}" for prefix in "BIES" for kind in ("X", "Y")] + ["O"]


def chunks_of_conlleval(tags: list[str]) -> set[tuple[str, int, int]]:
    """The rules startOfChunk and endOfChunk of CoNLL's script, written down one by one."""
    found, begin = set(), 0
    parts = [("O", ""), *(tag.partition("-")[::2] for tag in tags), ("O", "")]
    for place, ((before, kind_before), (now, kind)) in enumerate(itertools.pairwise(parts)):
        ends = before in ("E", "S")
        ends |= before in ("B", "I") and now in ("B", "S", "O")
        ends |= before != "O" and kind_before != kind
        if ends:
            found.add((kind_before, begin, place))
        starts = now in ("B", "S")
        starts |= before in ("E", "S", "O") and now in ("E", "I")
        starts |= now != "O" and kind_before != kind
        if starts:
            begin = place
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TAGS), max_size=8))
def test_entities_are_those_of_conlleval(tags: list[str]) -> None:
    assert spans(tags) == chunks_of_conlleval(tags)


def test_entities_of_known_rows() -> None:
    assert spans(["B-X", "I-X", "O", "B-X", "B-X"]) == {("X", 0, 2), ("X", 3, 4), ("X", 4, 5)}
    assert spans(["I-X", "I-Y", None, "I-Y"]) == {("X", 0, 1), ("Y", 1, 2), ("Y", 3, 4)}
    assert spans(["B-X", "I-X", "L-X", "U-Y"]) == {("X", 0, 3), ("Y", 3, 4)}
    assert spans([]) == set()


def test_tags_of_entities_are_told_from_others() -> None:
    assert has_spans(["O", "B-PER", "I-PER"]) and has_spans(["S-LOC"])
    assert not has_spans(["O"]) and not has_spans(["NOUN", "VERB"]) and not has_spans(["B-PER", "X"])


def report(gold: list[list[str]], guessed: list[list[str | None]], seed: int = 0) -> LabelReport:
    examples = [Labelled(" ".join("w" for _ in tags), tuple(tags), tuple("w" for _ in tags)) for tags in gold]
    return LabelReport(
        "toys", "test", examples, (LabelPredictions("m", [tuple(tags) for tags in guessed], "a note"),), seed
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=2, max_size=30))
def test_measures_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, guessed = [list(side) for side in zip(*pairs, strict=True)]
    made = report([[label] for label in gold], [[label] for label in guessed])
    assert made.means["m"]["accuracy"].mean == pytest.approx(accuracy_score(gold, guessed))
    assert made.means["m"]["macro F1"].mean == pytest.approx(f1_score(gold, guessed, average="macro", zero_division=0))
    assert list(made.means["m"]) == ["accuracy", "macro F1"]
    labels = [figures.label for figures in made.by_label(made.systems[0])]
    assert labels == sorted(set(gold))
    expected = precision_recall_fscore_support(gold, guessed, labels=labels, zero_division=0)
    found = [(f.precision, f.recall, f.f1, f.texts) for f in made.by_label(made.systems[0])]
    np.testing.assert_allclose(found, np.transpose(expected))


def test_words_count_by_words_and_entities_by_entities() -> None:
    gold = [["B-X", "I-X", "O"], ["O", "B-Y", "O", "O"], ["O"]]
    made = report(gold, [["B-X", "I-X", "O"], ["B-Y", "O", "O", "O"], [None]])
    means = made.means["m"]
    assert means["accuracy"].mean == 5 / 8
    assert means["span F1"].mean == 2 * 1 / (2 + 2)
    assert made.title() == "toys, test: 3 texts of 8 words, with 95 % bootstrap intervals"
    nothing = report(gold, [["O"] * len(tags) for tags in gold])
    assert nothing.means["m"]["span F1"].mean == 0


def test_intervals_are_those_of_drawing_texts_anew() -> None:
    draw = np.random.default_rng(1)
    counts = draw.integers([0, 5], [5, 10], (40, 2))

    def ratio(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    found = bootstrap_of_sums(counts, ratio, samples=3000, seed=3)
    again = np.random.default_rng(9)
    drawn = [ratio(counts[again.integers(0, 40, 40)].sum(axis=0)) for _ in range(6000)]
    assert found.mean == ratio(counts.sum(axis=0))
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]), atol=0.004)
    assert bootstrap_of_sums(counts, ratio, seed=3) == bootstrap_of_sums(counts, ratio, seed=3)
    alone = bootstrap_of_sums(counts[:1], ratio)
    assert (alone.low, alone.high) == (float("-inf"), float("inf"))


def test_a_report_is_written(tmp_path: Path) -> None:
    made = report([["B-X", "O"], ["O"]], [["B-X", "O"], ["B-X"]])
    made.save(tmp_path)
    said = json.loads((tmp_path / "report-test.json").read_text())
    assert said["systems"][0]["measures"]["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert said["systems"][0]["labels"][0] == {"label": "B-X", "texts": 1, "precision": 0.5, "recall": 1.0, "f1": 2 / 3}
    text = (tmp_path / "report-test.md").read_text()
    assert "| system | accuracy | macro F1 | span F1 |" in text and "- m: a note" in text
    assert "| B-X | 1 | 0.5000 | 1.0000 | 0.6667 |" in text
    lines = [json.loads(line) for line in (tmp_path / "predictions-test.jsonl").read_text().splitlines()]
    assert lines[1] == {"words": ["w"], "tags": ["O"], "guesses": ["B-X"]}

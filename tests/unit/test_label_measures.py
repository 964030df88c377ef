"""Measures of predicted labels agree with scikit-learn and conlleval, and intervals with resampled texts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from encloze.data.records import LabeledText
from encloze.evaluation.labels import LabelPredictions, LabelReport
from encloze.evaluation.significance import bootstrap_of_sums
from encloze.evaluation.spans import has_spans, spans

TAGS = [f"{prefix}-{kind}" for prefix in "BIES" for kind in ("X", "Y")] + ["O"]


def chunks_of_conlleval(tags: list[str]) -> set[tuple[str, int, int]]:
    """Return the spans by the rules startOfChunk and endOfChunk of CoNLL's script."""
    chunks, begin = set(), 0
    parts = [("O", ""), *(tag.partition("-")[::2] for tag in tags), ("O", "")]
    for position, ((before, kind_before), (now, kind)) in enumerate(itertools.pairwise(parts)):
        ends = before in ("E", "S")
        ends |= before in ("B", "I") and now in ("B", "S", "O")
        ends |= before != "O" and kind_before != kind
        if ends:
            chunks.add((kind_before, begin, position))
        starts = now in ("B", "S")
        starts |= before in ("E", "S", "O") and now in ("E", "I")
        starts |= now != "O" and kind_before != kind
        if starts:
            begin = position
    return chunks


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TAGS), max_size=8))
def test_spans_agree_with_conlleval(tags: list[str]) -> None:
    assert spans(tags) == chunks_of_conlleval(tags)


def test_spans_of_known_sequences() -> None:
    assert spans(["B-X", "I-X", "O", "B-X", "B-X"]) == {("X", 0, 2), ("X", 3, 4), ("X", 4, 5)}
    assert spans(["I-X", "I-Y", None, "I-Y"]) == {("X", 0, 1), ("Y", 1, 2), ("Y", 3, 4)}
    assert spans(["B-X", "I-X", "L-X", "U-Y"]) == {("X", 0, 3), ("Y", 3, 4)}
    assert spans([]) == set()


def test_has_spans_accepts_only_tags_of_spans() -> None:
    assert has_spans(["O", "B-PER", "I-PER"]) and has_spans(["S-LOC"])
    assert not has_spans(["O"]) and not has_spans(["NOUN", "VERB"]) and not has_spans(["B-PER", "X"])


def report(gold: list[list[str]], predicted: list[list[str | None]], seed: int = 0) -> LabelReport:
    examples = [LabeledText(" ".join("w" for _ in tags), tuple(tags), tuple("w" for _ in tags)) for tags in gold]
    return LabelReport(
        "toys", "test", examples, (LabelPredictions("m", [tuple(tags) for tags in predicted], "a note"),), seed
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=2, max_size=30))
def test_measures_agree_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, predicted = [list(side) for side in zip(*pairs, strict=True)]
    result = report([[label] for label in gold], [[label] for label in predicted])
    assert result.means["m"]["accuracy"].mean == pytest.approx(accuracy_score(gold, predicted))
    assert result.means["m"]["macro F1"].mean == pytest.approx(
        f1_score(gold, predicted, average="macro", zero_division=0)
    )
    assert list(result.means["m"]) == ["accuracy", "macro F1"]
    labels = [scores.label for scores in result.label_scores(result.systems[0])]
    assert labels == sorted(set(gold))
    expected = precision_recall_fscore_support(gold, predicted, labels=labels, zero_division=0)
    found = [(f.precision, f.recall, f.f1, f.texts) for f in result.label_scores(result.systems[0])]
    np.testing.assert_allclose(found, np.transpose(expected))


def test_accuracy_counts_words_and_span_f1_counts_spans() -> None:
    gold = [["B-X", "I-X", "O"], ["O", "B-Y", "O", "O"], ["O"]]
    result = report(gold, [["B-X", "I-X", "O"], ["B-Y", "O", "O", "O"], [None]])
    means = result.means["m"]
    assert means["accuracy"].mean == 5 / 8
    assert means["span F1"].mean == 2 * 1 / (2 + 2)
    assert result.title == "toys, test: 3 texts of 8 words, with 95 % bootstrap intervals"
    nothing = report(gold, [["O"] * len(tags) for tags in gold])
    assert nothing.means["m"]["span F1"].mean == 0


def test_intervals_agree_with_resampled_texts() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers([0, 5], [5, 10], (40, 2))

    def ratio(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    found = bootstrap_of_sums(counts, ratio, samples=3000, seed=3)
    other = np.random.default_rng(9)
    resampled = [ratio(counts[other.integers(0, 40, 40)].sum(axis=0)) for _ in range(6000)]
    assert found.mean == ratio(counts.sum(axis=0))
    np.testing.assert_allclose([found.low, found.high], np.quantile(resampled, [0.025, 0.975]), atol=0.004)
    assert bootstrap_of_sums(counts, ratio, seed=3) == bootstrap_of_sums(counts, ratio, seed=3)
    alone = bootstrap_of_sums(counts[:1], ratio)
    assert (alone.low, alone.high) == (float("-inf"), float("inf"))


def test_a_report_is_saved(tmp_path: Path) -> None:
    result = report([["B-X", "O"], ["O"]], [["B-X", "O"], ["B-X"]])
    result.save(tmp_path)
    content = json.loads((tmp_path / "report-test.json").read_text())
    assert content["systems"][0]["measures"]["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert content["systems"][0]["labels"][0] == {
        "label": "B-X",
        "texts": 1,
        "precision": 0.5,
        "recall": 1.0,
        "f1": 2 / 3,
    }
    text = (tmp_path / "report-test.md").read_text()
    assert "| system | accuracy | macro F1 | span F1 |" in text and "- m: a note" in text
    assert "| B-X | 1 | 0.5000 | 1.0000 | 0.6667 |" in text
    lines = [json.loads(line) for line in (tmp_path / "predictions-test.jsonl").read_text().splitlines()]
    assert lines[1] == {"words": ["w"], "tags": ["O"], "predictions": ["B-X"]}

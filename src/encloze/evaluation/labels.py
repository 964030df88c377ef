"""Results of label prediction: accuracy, macro F1 and span F1 of systems, with confidence intervals over texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze.data.labeled import LabeledDataset
from encloze.data.records import LabeledText
from encloze.escapes import markdown
from encloze.evaluation.significance import bootstrap_of_sums
from encloze.evaluation.spans import has_spans, spans
from encloze.intervals import Interval
from encloze.storage.json_files import write_json
from encloze.tables import Column, Kind, Table, Value, notebook_html

REPORT_FILE, PREDICTIONS_FILE = "report-{}.json", "predictions-{}.jsonl"
"""Names of the files of a split."""


class LabelPredictions(NamedTuple):
    """Labels that one system predicts for the texts of a split."""

    name: str
    """Name of the system."""
    labels: list[tuple[str | None, ...]]
    """Predicted labels of each text: one for the text or one per word; None for a word not read (truncated)."""
    note: str = ""
    """Sentence for the report on how the labels were predicted; may be empty."""


class LabelScores(NamedTuple):
    """Precision, recall and F1 of a system on one label."""

    label: str
    texts: int
    """Number of texts (or words, if words are labeled) whose true label is this one."""
    precision: float
    recall: float
    f1: float


Measure = Callable[[np.ndarray], np.ndarray]
"""Function from sums over texts, of shape (..., columns), to values of shape (...)."""


@dataclass(frozen=True)
class LabelReport:
    """Measures of the predictions of several systems on the labeled texts of one split.

    Args:
        dataset: Path of the labeled data set.
        split: Name of the split.
        examples: The texts with their true labels.
        systems: Predictions of each system.
        seed: Seed of the bootstrap samples.
    """

    dataset: str
    split: str
    examples: list[LabeledText]
    systems: tuple[LabelPredictions, ...]
    seed: int = 0

    @cached_property
    def means(self) -> dict[str, dict[str, Interval]]:
        """Measures of each system, each with a 95 % bootstrap interval over the texts.

        The keys are the name of the system, then the name of the measure.
        """
        return {
            system.name: {
                name: bootstrap_of_sums(counts, measure, seed=self.seed)
                for name, (counts, measure) in self._measure_counts(system).items()
            }
            for system in self.systems
        }

    @cached_property
    def labels(self) -> list[str]:
        """All true and predicted labels, sorted."""
        predicted = {label for system in self.systems for text in system.labels for label in text if label is not None}
        return sorted(predicted | {label for example in self.examples for label in example.labels})

    def label_scores(self, system: LabelPredictions) -> list[LabelScores]:
        """Return the scores of a system for each label that occurs in the split.

        Args:
            system: One of ``systems``.
        """
        correct, predicted, true = self._label_counts(system).sum(axis=0)
        return [
            LabelScores(label, int(t), float(c / p) if p else 0.0, float(c / t), float(2 * c / (p + t)))
            for label, c, p, t in zip(self.labels, correct, predicted, true, strict=True)
            if t
        ]

    @property
    def title(self) -> str:
        """Title of the report: the data set, the split and the number of texts."""
        words = sum(len(example.labels) for example in self.examples)
        size = f"{len(self.examples):,} texts" + f" of {words:,} words" * (self.examples[0].words is not None)
        return f"{self.dataset}, {self.split}: {size}, with 95 % bootstrap intervals"

    @property
    def notes(self) -> list[str]:
        """Notes of the systems."""
        return [f"{system.name}: {system.note}" for system in self.systems if system.note]

    def table(self) -> Table:
        """Return a table with one row for each system and one column for each measure."""
        measures = next(iter(self.means.values()))
        columns = (Column("system"), *(Column(name, Kind.MEASURE) for name in measures))
        rows: list[tuple[Value, ...]] = [(name, *values.values()) for name, values in self.means.items()]
        return Table(self.title, columns, tuple(rows))

    def label_table(self, system: LabelPredictions) -> Table:
        """Return a table of the precision, recall and F1 of a system, with one row for each label.

        Args:
            system: One of ``systems``.
        """
        names = ("precision", "recall", "F1")
        columns = (Column("label"), Column("count", Kind.COUNT), *(Column(name, Kind.MEASURE) for name in names))
        return Table(f"{system.name}, by label", columns, tuple(tuple(scores) for scores in self.label_scores(system)))

    def tables(self) -> list[Table]:
        """Return two tables: the measures of all systems, and the scores of the last system for each label."""
        return [self.table(), self.label_table(self.systems[-1])]

    def to_markdown(self) -> str:
        """Return the tables and the notes in Markdown."""
        systems, labels = self.tables()
        notes = [f"- {markdown(note)}" for note in self.notes]
        lines = [
            f"{markdown(systems.title)}.",
            "",
            systems.to_markdown(),
            "",
            *notes,
            "",
            f"{markdown(labels.title)}:",
            "",
        ]
        return "\n".join([*lines, labels.to_markdown()]) + "\n"

    def to_pandas(self) -> Any:
        """Return the table of the systems and their measures as a ``pandas.DataFrame``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return self.table().to_pandas()

    def _repr_html_(self) -> str:
        """Return the HTML that notebooks display."""
        return notebook_html(self.tables(), self.notes)

    def to_dict(self) -> dict[str, object]:
        """Return the content of ``report-SPLIT.json``."""
        systems = [
            {
                "name": system.name,
                "measures": {name: mean._asdict() for name, mean in self.means[system.name].items()},
                "labels": [scores._asdict() for scores in self.label_scores(system)],
                "note": system.note,
            }
            for system in self.systems
        ]
        return {"dataset": self.dataset, "split": self.split, "texts": len(self.examples), "systems": systems}

    def save(self, folder: Path) -> None:
        """Write the report into an existing folder.

        Args:
            folder: Receives ``report-SPLIT.json``, ``report-SPLIT.md``, and ``predictions-SPLIT.jsonl`` with the
                predictions of the last system.
        """
        (folder / f"report-{self.split}.md").write_text(self.to_markdown(), encoding="utf-8")
        write_json(folder / REPORT_FILE.format(self.split), self.to_dict())
        with (folder / PREDICTIONS_FILE.format(self.split)).open("w", encoding="utf-8") as stream:
            for example, predicted in zip(self.examples, self.systems[-1].labels, strict=True):
                line: dict[str, object] = {
                    "text": example.text,
                    "label": example.labels[0],
                    "prediction": predicted[0],
                }
                if example.words is not None:
                    line = {"words": example.words, "tags": example.labels, "predictions": predicted}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _measure_counts(self, system: LabelPredictions) -> dict[str, tuple[np.ndarray, Measure]]:
        """Return, for each measure by name, the counts that it needs and the function that computes it from the counts.

        The counts are an array with one row per text; its columns depend on the measure. The function expects the sums
        of the columns over the texts.
        """
        label_counts = self._label_counts(system)
        correct, _, true = label_counts.sum(axis=2).T
        measures: dict[str, tuple[np.ndarray, Measure]] = {
            "accuracy": (np.stack([correct, true], axis=1), _ratio),
            "macro F1": (label_counts.reshape(len(label_counts), -1), _macro_f1),
        }
        if has_spans(label for example in self.examples for label in example.labels):
            pairs = zip(system.labels, self.examples, strict=True)
            span_pairs = [(spans(predicted), spans(example.labels)) for predicted, example in pairs]
            counts = [[len(predicted & true), len(predicted), len(true)] for predicted, true in span_pairs]
            measures["span F1"] = (np.array(counts), _macro_f1)  # all spans count as one label
        return measures

    def _label_counts(self, system: LabelPredictions) -> np.ndarray:
        """Count for each text how often each label is predicted correctly, is predicted, and is the true label.

        The result is an int64 array of shape (texts, 3, labels), with these three counts in this order.
        """
        number_of = {label: number for number, label in enumerate(self.labels)}
        counts = np.zeros((len(self.examples), 3, len(number_of)), np.int64)
        for row, (example, predictions) in enumerate(zip(self.examples, system.labels, strict=True)):
            for label, prediction in zip(example.labels, predictions, strict=True):
                counts[row, 2, number_of[label]] += 1
                if prediction is not None:
                    counts[row, 1, number_of[prediction]] += 1
                    counts[row, 0, number_of[prediction]] += prediction == label
        return counts


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    """Compute the mean F1 over labels, as in scikit-learn. Labels that are neither true nor predicted are left out.

    Args:
        sums: Array of shape (..., 3 * labels): how often each label is predicted correctly, then how often it is
            predicted, then how often it is the true label.
    """
    correct, predicted, true = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    total = predicted + true
    f1 = np.divide(2 * correct, total, out=np.zeros_like(total, float), where=total > 0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(1, (total > 0).sum(axis=-1)))


def evaluate_predictions(
    data: LabeledDataset, split: str, name: str, label_ids: np.ndarray, note: str = "", seed: int = 0
) -> LabelReport:
    """Evaluate the predictions of a system on a split, together with baselines that need no encoder.

    The baselines are the majority label of ``train`` and, for labeled words, the most frequent tag of each word in
    ``train``.

    Args:
        data: The labeled data set.
        split: Name of the evaluated split.
        name: Name of the system.
        label_ids: Predicted label ids of all texts of the split, concatenated; -1 for a word without prediction.
        note: Sentence for the report on how the labels were predicted; may be empty.
        seed: Seed of the bootstrap samples.

    Returns:
        The report on the baselines and, as its last entry, on the system.
    """
    examples, majority = data.splits[split], data.majority_label
    predictions: list[tuple[str | None, ...]] = [(majority,) * len(example.labels) for example in examples]
    systems = [LabelPredictions("majority label", predictions, f"{majority!r} in train")]
    if data.labeled_unit == "words":
        systems.append(LabelPredictions("most frequent tag", list(data.most_frequent_tags(split)), "counted in train"))
    systems.append(LabelPredictions(name, data.labels_from_ids(split, label_ids), note))
    return LabelReport(str(data.path), split, examples, tuple(systems), seed)

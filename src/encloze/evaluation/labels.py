"""What guesses of labels are worth, as values: systems by measures, with intervals over texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze.data.labelled import LabelledSet
from encloze.data.records import Labelled
from encloze.evaluation.report import markdown_table
from encloze.evaluation.significance import bootstrap_of_sums
from encloze.evaluation.spans import has_spans, spans
from encloze.intervals import Interval
from encloze.storage.json_files import write_json

REPORT_FILE, PREDICTIONS_FILE = "report-{}.json", "predictions-{}.jsonl"
"""The files of a split."""


class LabelPredictions(NamedTuple):
    """What a system takes the labels of texts for."""

    name: str
    labels: list[tuple[str | None, ...]]
    """As many for each text as it has labels; None where the system did not see the word."""
    note: str = ""


class LabelScores(NamedTuple):
    """How a system does on one label."""

    label: str
    texts: int
    """How many have it (words, where these are labelled)."""
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelReport:
    """Guesses of several systems on the labelled texts of one split."""

    dataset: str
    split: str
    examples: list[Labelled]
    systems: tuple[LabelPredictions, ...]
    seed: int = 0
    """What the intervals are drawn from."""

    @cached_property
    def means(self) -> dict[str, dict[str, Interval]]:
        """Each system's measures, with 95 % intervals over texts (sentences, where words are labelled)."""
        return {
            system.name: {
                name: bootstrap_of_sums(counts, measure, seed=self.seed)
                for name, (counts, measure) in self._counted(system).items()
            }
            for system in self.systems
        }

    @cached_property
    def labels(self) -> list[str]:
        """All labels that occur, in truth or as a guess."""
        guessed = {label for system in self.systems for text in system.labels for label in text if label is not None}
        return sorted(guessed | {label for example in self.examples for label in example.labels})

    def by_label(self, system: LabelPredictions) -> list[LabelScores]:
        """How a system does on each label that occurs in the split."""
        right, guessed, true = self._sums(system).sum(axis=0)
        return [
            LabelScores(label, int(t), float(r / g) if g else 0.0, float(r / t), float(2 * r / (g + t)))
            for label, r, g, t in zip(self.labels, right, guessed, true, strict=True)
            if t
        ]

    def rows(self) -> list[list[str]]:
        """The table as text: a header, then a row for each system."""
        head = ["system", *next(iter(self.means.values()))]
        cells = {
            name: [f"{mean:.4f} [{low:.4f}, {high:.4f}]" for mean, low, high in measures.values()]
            for name, measures in self.means.items()
        }
        return [head, *([name, *of_system] for name, of_system in cells.items())]

    def title(self) -> str:
        words = sum(len(example.labels) for example in self.examples)
        counted = f"{len(self.examples):,} texts" + f" of {words:,} words" * (self.examples[0].words is not None)
        return f"{self.dataset}, {self.split}: {counted}, with 95 % bootstrap intervals"

    @property
    def notes(self) -> list[str]:
        """What systems say of themselves."""
        return [f"{system.name}: {system.note}" for system in self.systems if system.note]

    def markdown(self) -> str:
        """The table, and what the last system makes of each label."""
        last = self.systems[-1]
        notes = [f"- {note}" for note in self.notes]
        rows = [[f.label, f"{f.texts:,}", *(f"{x:.4f}" for x in f[2:])] for f in self.by_label(last)]
        each = markdown_table([["label", "count", "precision", "recall", "F1"], *rows])
        lines = [f"{self.title()}.", "", *markdown_table(self.rows()), "", *notes, "", f"{last.name}, by label:", ""]
        return "\n".join([*lines, *each]) + "\n"

    def save(self, folder: Path) -> None:
        """Write report-SPLIT.json, report-SPLIT.md, and guesses-SPLIT.jsonl of the last system."""
        (folder / f"report-{self.split}.md").write_text(self.markdown(), encoding="utf-8")
        systems = [
            {
                "name": system.name,
                "measures": {name: mean._asdict() for name, mean in self.means[system.name].items()},
                "labels": [figures._asdict() for figures in self.by_label(system)],
                "note": system.note,
            }
            for system in self.systems
        ]
        said = {"dataset": self.dataset, "split": self.split, "texts": len(self.examples), "systems": systems}
        write_json(folder / REPORT_FILE.format(self.split), said)
        with (folder / PREDICTIONS_FILE.format(self.split)).open("w", encoding="utf-8") as stream:
            for example, guessed in zip(self.examples, self.systems[-1].labels, strict=True):
                line: dict[str, object] = {"text": example.text, "label": example.labels[0], "prediction": guessed[0]}
                if example.words is not None:
                    line = {"words": example.words, "tags": example.labels, "predictions": guessed}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _counted(self, system: LabelPredictions) -> dict[str, tuple[np.ndarray, Measure]]:
        """For each measure what it is worked out from, text by text."""
        sums = self._sums(system)
        right, _, true = sums.sum(axis=2).T
        found: dict[str, tuple[np.ndarray, Measure]] = {
            "accuracy": (np.stack([right, true], axis=1), _ratio),
            "macro F1": (sums.reshape(len(sums), -1), _macro_f1),
        }
        if has_spans(label for example in self.examples for label in example.labels):
            pairs = zip(system.labels, self.examples, strict=True)
            both = [(spans(guessed), spans(example.labels)) for guessed, example in pairs]
            counts = np.array([[len(guessed & true), len(guessed), len(true)] for guessed, true in both])
            found["span F1"] = (counts, _macro_f1)  # over one kind of thing
        return found

    def _sums(self, system: LabelPredictions) -> np.ndarray:
        """How many labels of each text are guessed rightly, guessed and true: int64, texts x 3 x labels."""
        number_of = {label: number for number, label in enumerate(self.labels)}
        counts = np.zeros((len(self.examples), 3, len(number_of)), np.int64)
        for row, (example, guessed) in enumerate(zip(self.examples, system.labels, strict=True)):
            for label, guess in zip(example.labels, guessed, strict=True):
                counts[row, 2, number_of[label]] += 1
                if guess is not None:
                    counts[row, 1, number_of[guess]] += 1
                    counts[row, 0, number_of[guess]] += guess == label
        return counts


Measure = Callable[[np.ndarray], np.ndarray]
"""Sums over texts, ... x columns, to one number for each row."""


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    """The mean F1 of the labels that occur, in truth or as a guess (as scikit-learn has it): ... x 3 labels."""
    right, guessed, true = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    both = guessed + true
    f1 = np.divide(2 * right, both, out=np.zeros_like(both, float), where=both > 0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(1, (both > 0).sum(axis=-1)))


def evaluate_predictions(
    data: LabelledSet, split: str, name: str, codes: np.ndarray, note: str = "", seed: int = 0
) -> LabelReport:
    """Guesses on a split, as numbers of labels (-1 where nothing was seen), beside what needs no encoder.

    That is always the commonest label; of words, the tag that each has most often in train, too.
    """
    examples, common = data.parts[split], data.commonest
    without = [
        LabelPredictions("commonest label", [(common,) * len(e.labels) for e in examples], f"{common!r}, by train")
    ]
    if data.unit == "words":
        without.append(LabelPredictions("usual tag of each word", list(data.usual(split)), "by train"))
    guesses = LabelPredictions(name, data.labels_of(split, codes), note)
    return LabelReport(str(data.place), split, examples, (*without, guesses), seed)

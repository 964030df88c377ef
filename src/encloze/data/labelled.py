"""A set of labelled texts in its parts: what is learnt from, and what is judged on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from encloze import progress
from encloze.data.labels.base import Labels
from encloze.data.records import Labelled
from encloze.errors import DataError


@dataclass(frozen=True)
class LabelledSet:
    """Texts with one label each, or words with one each, by split."""

    place: Path
    parts: dict[str, list[Labelled]]
    """train, dev where there is one, and what is judged on."""

    @classmethod
    def open(cls, labels: Labels, split: str) -> LabelledSet:
        """The parts train, ``split`` and, where there is one, dev.

        Raises DataError where one is missing or malformed, or where there is nothing to learn; warns of labels that
        train lacks, and of texts that train has as well.
        """
        names = dict.fromkeys(["train", *(["dev"] if labels.has("dev") else []), split])
        made = cls(labels.path, {name: labels.read(name) for name in names})
        if len(made.names) < 2:
            every = f"every {made.unit[:-1]} of train has the label {made.names[0]!r}"
            raise DataError(f"{labels.path}: {every}: there is nothing to learn. Give examples of two labels at least")
        for name, part in made.parts.items():
            if name != "train":
                made._check(name, part)
        return made

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels of train, in order."""
        return tuple(sorted({label for example in self.parts["train"] for label in example.labels}))

    @property
    def unit(self) -> str:
        """What has labels: texts or words."""
        return "texts" if self.parts["train"][0].words is None else "words"

    def codes(self, split: str) -> list[np.ndarray]:
        """The labels of each text of a split as numbers of ``names``: int64, one or one a word; -1 for unknown ones."""
        number_of = {name: number for number, name in enumerate(self.names)}
        return [
            np.array([number_of.get(label, -1) for label in example.labels], np.int64) for example in self.parts[split]
        ]

    @property
    def commonest(self) -> str:
        """The label that train has most often; of equally common ones the first."""
        counts = Counter(label for example in self.parts["train"] for label in example.labels)
        return min(counts, key=lambda label: (-counts[label], label))

    def usual(self, split: str) -> list[tuple[str, ...]]:
        """For each word of a split the tag that it has most often in train; the commonest one where it is not there."""
        counts: dict[str, Counter[str]] = {}
        for example in self.parts["train"]:
            for word, label in zip(example.words or (), example.labels, strict=True):
                counts.setdefault(word, Counter())[label] += 1
        best = {word: count.most_common(1)[0][0] for word, count in counts.items()}
        return [tuple(best.get(word, self.commonest) for word in example.words or ()) for example in self.parts[split]]

    @property
    def unseen(self) -> str | None:
        """What a word counts as of which a model sees nothing: O where there is such a label, else a wrong guess."""
        return "O" if self.unit == "words" and "O" in self.names else None

    def labels_of(self, split: str, codes: np.ndarray) -> list[tuple[str | None, ...]]:
        """The labels that ``codes``, one for each label of the split, stand for, text by text; -1 is unseen."""
        labels = iter([self.names[code] if code >= 0 else self.unseen for code in codes])
        return [tuple(next(labels) for _ in example.labels) for example in self.parts[split]]

    def _check(self, name: str, part: Sequence[Labelled]) -> None:
        train = self.parts["train"]
        if (part[0].words is None) != (train[0].words is None):
            raise DataError(f"{self.place}: train labels {self.unit}, and {name} does not. Write both in the same way")
        learnt, found = set(self.names), [label for example in part for label in example.labels]
        strange = [label for label in found if label not in learnt]
        some = ", ".join(repr(label) for label in list(dict.fromkeys(strange))[:3])
        if len(strange) == len(found):
            raise DataError(f"{self.place}: train has none of the labels of {name} ({some}). Are they of one set?")
        if strange:
            progress.warn(
                f"{len(strange):,} of {len(found):,} {self.unit} of {name} have labels that train lacks ({some}): "
                "they cannot be learnt, and count as wrong"
            )
        known = {example.text for example in train}
        if twice := sum(example.text in known for example in part):
            progress.warn(f"{twice:,} of the {len(part):,} texts of {name} are in train, too: they flatter the result")

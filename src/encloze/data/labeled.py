"""Data sets of labeled texts or words, by split, for classifiers and probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from encloze import progress
from encloze.data.labels.base import LabelFormat
from encloze.data.records import LabeledText
from encloze.errors import DataError


@dataclass(frozen=True)
class LabeledDataset:
    """Texts with one label each, or texts with one label per word, by split.

    Example:
        >>> from encloze.data.labels.base import LabelFormat
        >>> data = LabeledDataset.load(LabelFormat.from_name("my_labels"), "test")  # doctest: +SKIP
        >>> data.label_names  # doctest: +SKIP
        ('negative', 'positive')
    """

    path: Path
    """Folder of the data set."""
    splits: dict[str, list[LabeledText]]
    """Examples by split name: ``train``, ``dev`` if it exists, and the split to evaluate on."""

    @classmethod
    def load(cls, labels: LabelFormat, split: str) -> LabeledDataset:
        """Read the splits train, ``split`` and, if it exists, dev.

        Warns if dev or ``split`` contains labels that train lacks, or texts that train also contains.

        Args:
            labels: Format that reads the data set.
            split: Split to evaluate on.

        Raises:
            DataError: A split is missing or malformed, train has fewer than two labels, or train has none of the labels
                of another split.
        """
        names = dict.fromkeys(["train", *(["dev"] if labels.has_split("dev") else []), split])
        data = cls(labels.path, {name: labels.read(name) for name in names})
        if len(data.label_names) < 2:
            raise DataError(
                f"{labels.path}: all {data.labeled_unit} of train have the label {data.label_names[0]!r}. Give "
                "examples of at least two labels"
            )
        for name, examples in data.splits.items():
            if name != "train":
                data._check(name, examples)
        return data

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Labels of train, sorted."""
        return tuple(sorted({label for example in self.splits["train"] for label in example.labels}))

    @property
    def labeled_unit(self) -> str:
        """Kind of items that are labeled: ``texts`` or ``words``."""
        return "texts" if self.splits["train"][0].words is None else "words"

    @property
    def majority_label(self) -> str:
        """Most frequent label of train; the first in alphabetical order if several are equally frequent."""
        counts = Counter(label for example in self.splits["train"] for label in example.labels)
        return min(counts, key=lambda label: (-counts[label], label))

    @property
    def truncated_label(self) -> str | None:
        """Label predicted for words beyond the token limit: ``O`` if train has it, else None, which counts as wrong."""
        return "O" if self.labeled_unit == "words" and "O" in self.label_names else None

    def label_ids(self, split: str) -> list[np.ndarray]:
        """Return the labels of a split as indices of ``label_names``.

        Args:
            split: Name of the split.

        Returns:
            One int64 array per text with one index for the text or for each word; -1 for labels that do not occur in
            train.
        """
        ids = {name: index for index, name in enumerate(self.label_names)}
        return [np.array([ids.get(label, -1) for label in example.labels], np.int64) for example in self.splits[split]]

    def labels_from_ids(self, split: str, label_ids: np.ndarray) -> list[tuple[str | None, ...]]:
        """Return the predicted labels of each text.

        Args:
            split: Name of the split.
            label_ids: Predicted indices of ``label_names`` for all texts or words of the split, concatenated (int64);
                -1 for words beyond the token limit, which become ``truncated_label``.
        """
        labels = iter([self.label_names[id_] if id_ >= 0 else self.truncated_label for id_ in label_ids])
        return [tuple(next(labels) for _ in example.labels) for example in self.splits[split]]

    def most_frequent_tags(self, split: str) -> list[tuple[str, ...]]:
        """Return the most frequent tag in train of each word of a split; ``majority_label`` for words not in train."""
        counts: dict[str, Counter[str]] = {}
        for example in self.splits["train"]:
            for word, label in zip(example.words or (), example.labels, strict=True):
                counts.setdefault(word, Counter())[label] += 1
        tags = {word: count.most_common(1)[0][0] for word, count in counts.items()}
        return [tuple(tags.get(word, self.majority_label) for word in text.words or ()) for text in self.splits[split]]

    def _check(self, name: str, examples: Sequence[LabeledText]) -> None:
        """Raise a DataError or warn if a split has other kinds of texts, or other labels, than the split train."""
        train, unit = self.splits["train"], self.labeled_unit
        if (examples[0].words is None) != (train[0].words is None):
            raise DataError(
                f"{self.path}: train has labels of {unit}, but {name} does not. Label texts in both splits, or "
                "words in both"
            )
        labels = [label for example in examples for label in example.labels]
        unknown = [label for label in labels if label not in self.label_names]
        names = ", ".join(repr(label) for label in list(dict.fromkeys(unknown))[:3])
        if len(unknown) == len(labels):
            raise DataError(
                f"{self.path}: train has none of the labels of {name} ({names}). Use files of the same data set"
            )
        if unknown:
            progress.warn(
                f"{len(unknown):,} of {len(labels):,} {unit} of {name} have labels that are not in train ({names}) and "
                "count as wrong"
            )
        train_texts = {example.text for example in train}
        if shared := sum(example.text in train_texts for example in examples):
            progress.warn(
                f"{shared:,} of the {len(examples):,} texts of {name} also occur in train. Results on them are too "
                "optimistic"
            )

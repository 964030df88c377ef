"""What fine-tuning a classifier trains, and the batches it is trained on: texts, or words, with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.models.classifier import Classifier
from encloze.models.reading import Reading
from encloze.models.trainable import Terms, Trainable
from encloze.text.words import Marked, pad_marked

TERM = "cross_entropy"


class LabelledBatch(NamedTuple):
    """Texts with the labels that are learnt."""

    reading: Reading
    labels: Tensor  # int64, labels

    def counts(self) -> dict[str, Tensor]:
        return dict.fromkeys((TERM, "right"), torch.tensor(len(self.labels), device=self.labels.device))


class ClassifierModule(Trainable):
    """A classifier under the cross-entropy of its labels."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier, self.weights = classifier, {TERM: 1.0}

    def draw(self, batch: LabelledBatch) -> LabelledBatch:
        """Nothing is random here."""
        return batch

    def encoder_parameters(self) -> list[nn.Parameter]:
        return self.classifier.encoder_parameters()

    def forward(self, batch: LabelledBatch) -> Terms:
        """The summed cross-entropy, and how many labels are guessed."""
        logits = self.classifier(batch.reading)
        right = (logits.detach().argmax(dim=1) == batch.labels).sum()
        return Terms({TERM: F.cross_entropy(logits, batch.labels, reduction="sum"), "right": right})


class LabelledBatches:
    """Makes batches of labelled texts."""

    def __init__(self, classifier: Classifier, texts: Sequence[Marked], codes: Sequence[np.ndarray]) -> None:
        self.texts, self.codes = texts, codes
        self.tokenizer, self.max_tokens = classifier.tokenizer, classifier.max_tokens
        self.lengths = np.array([min(len(marked.text.ids) + 2, self.max_tokens) for marked in texts])

    def __call__(self, numbers: np.ndarray, epoch: int, device: torch.device) -> LabelledBatch:
        """The batch of the texts with these numbers."""
        marks = pad_marked([self.texts[int(number)] for number in numbers], self.tokenizer, self.max_tokens)
        labels = np.concatenate([self.codes[int(number)] for number in numbers])[marks.kept]
        return LabelledBatch(Reading.of(marks, device), torch.from_numpy(labels).to(device))

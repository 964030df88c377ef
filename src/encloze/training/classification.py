"""Fine-tuning of a classifier: the trained module, and batches of texts or words with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.models.classifier import Classifier
from encloze.models.classifier_inputs import ClassifierInput
from encloze.models.trainable import LossOutput, Trainable
from encloze.text.labeled import LabeledTokens, pad_labeled

LOSS, ACCURACY = "cross_entropy", "accuracy"


class LabeledBatch(NamedTuple):
    """A batch of texts, with one label for each text or for each of its words."""

    texts: ClassifierInput
    labels: Tensor
    """Label ids (int64, one per label)."""

    def counts(self) -> dict[str, Tensor]:
        """Return the divisor of the summed loss and of the summed accuracy: the number of labels in the batch."""
        return dict.fromkeys((LOSS, ACCURACY), torch.tensor(len(self.labels), device=self.labels.device))


class ClassifierModule(Trainable):
    """A classifier that is trained with the cross-entropy loss."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier, self.loss_weights = classifier, {LOSS: 1.0}

    def sample(self, batch: LabeledBatch) -> LabeledBatch:
        """Return the batch unchanged: nothing is sampled."""
        return batch

    def encoder_parameters(self) -> list[nn.Parameter]:
        return self.classifier.encoder_parameters()

    def forward(self, batch: LabeledBatch) -> LossOutput:
        """Return the cross-entropy, summed over the labels of the batch, and the number of correct predictions."""
        logits = self.classifier(batch.texts)
        correct = (logits.detach().argmax(dim=1) == batch.labels).sum()
        return LossOutput({LOSS: F.cross_entropy(logits, batch.labels, reduction="sum"), ACCURACY: correct})


class LabeledBatches:
    """Creates batches of labeled texts.

    Args:
        classifier: Model whose tokenizer and maximum number of tokens are used.
        texts: Tokenized texts.
        label_ids: For each text, an int64 array with the id of its label, or with the ids of its words' labels.
    """

    def __init__(self, classifier: Classifier, texts: Sequence[LabeledTokens], label_ids: Sequence[np.ndarray]) -> None:
        self._texts, self._label_ids = texts, label_ids
        self._tokenizer, self._max_tokens = classifier.tokenizer, classifier.max_tokens
        special = self._tokenizer.num_special_tokens
        self.lengths = np.array([min(len(text.tokens.ids) + special, self._max_tokens) for text in texts])

    def __call__(self, indices: np.ndarray, epoch: int, device: torch.device) -> LabeledBatch:
        """Return the batch of texts with the given indices (int64, ``(texts,)``)."""
        padded = pad_labeled([self._texts[int(index)] for index in indices], self._tokenizer, self._max_tokens)
        labels = np.concatenate([self._label_ids[int(index)] for index in indices])[padded.label_mask]
        return LabeledBatch(ClassifierInput.from_padded(padded, device), torch.from_numpy(labels).to(device))

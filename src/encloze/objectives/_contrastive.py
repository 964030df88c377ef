"""Contrastive loss of several objectives; negatives of a pair are the texts of all other pairs of the training step."""

from __future__ import annotations

import torch
from torch import Tensor

from encloze.models.layers.contrastive_loss import in_batch_contrastive_loss
from encloze.models.layers.masking import TokenBatch
from encloze.models.pretraining_module import PretrainingModule
from encloze.models.trainable import EmbeddingBatch


class ContrastiveModule(PretrainingModule):
    """Pre-training module with a loss term ``contrastive`` over the text pairs of a whole training step.

    Subclasses set ``temperature`` and ``normalize``. Their method ``encode`` includes the result of ``pair_embeddings``
    in the ``EncoderOutput``.
    """

    has_global_losses = True
    temperature: float
    normalize: bool

    def global_losses(self, embeddings: tuple[EmbeddingBatch, ...]) -> dict[str, Tensor]:
        (pairs,) = embeddings
        loss, correct = in_batch_contrastive_loss(
            pairs.vectors[0], pairs.group_ids[:, 0], self.temperature, normalize=self.normalize
        )
        return {"contrastive": loss, "in_batch_accuracy": correct}


def pair_embeddings(embeddings: Tensor, source_ids: Tensor) -> tuple[EmbeddingBatch]:
    """Return the embeddings of text pairs in the form that ``ContrastiveModule.global_losses`` requires.

    Args:
        embeddings: Embeddings of the first texts, followed by those of the second texts, (2 x pairs) x hidden size.
        source_ids: Id of the document that each pair was taken from (int64, one per pair).
    """
    return (EmbeddingBatch((torch.stack(embeddings.chunk(2), dim=1),), source_ids[:, None]),)


def contrastive_counts(texts: TokenBatch, views: int = 1) -> dict[str, Tensor]:
    """Return the number of embeddings that the contrastive loss compares, keyed by the names of loss and accuracy.

    The loss and the accuracy, which are summed over embeddings, are divided by this number.

    Args:
        texts: The tokenized texts whose embeddings are compared.
        views: How many embeddings each text has, such as 2 if it is encoded twice.
    """
    count = torch.tensor(views * len(texts.ids), device=texts.ids.device)
    return {"contrastive": count, "in_batch_accuracy": count}

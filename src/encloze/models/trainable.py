"""The interface of modules that the training loop trains."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn


class EmbeddingBatch(NamedTuple):
    """Embeddings of items of one kind (such as queries), with the ids of the groups that each item belongs to."""

    vectors: tuple[Tensor, ...]
    """One or more tensors with one row for each item (float, items x ...)."""
    group_ids: Tensor
    """One or more ids for each item, such as the id of its source document (int64, items x number of ids). The method
    ``Trainable.global_losses`` compares them to find items that must not be negatives of each other."""


class LossOutput(NamedTuple):
    """Result of a forward pass: loss terms of a micro-batch, and embeddings for loss terms of a whole training step."""

    sums: dict[str, Tensor]
    """Loss terms, summed over the items of the micro-batch, and counts of correct predictions."""
    embeddings: tuple[EmbeddingBatch, ...] = ()
    """Input of ``Trainable.global_losses``, which compares the items of all processes and micro-batches of a step."""


class Trainable(nn.Module):
    """Base class of modules that the training loop trains.

    For each micro-batch the loop first calls ``sample``, which makes all random choices. The object that ``sample``
    returns has a method ``counts()``, which returns the number of items over which each loss term is summed. The loop
    then calls the module with this object. It divides the loss terms, summed over all processes and micro-batches, by
    the counts of all processes and micro-batches. The loss therefore does not depend on how a batch is split.
    """

    loss_weights: dict[str, float]
    """Weights of the loss terms; terms without a weight are only logged."""
    has_global_losses: bool = False
    """Whether the forward pass returns embeddings, from which ``global_losses`` computes loss terms."""

    def sample(self, batch: Any) -> Any:
        """Make all random choices for a batch, such as masks, and return the batch with them."""
        raise NotImplementedError(type(self).__name__)

    def global_losses(self, embeddings: tuple[EmbeddingBatch, ...]) -> dict[str, Tensor]:
        """Return the loss terms that compare all items of a training step with each other, summed over the items.

        Args:
            embeddings: The embeddings of all processes and micro-batches, one ``EmbeddingBatch`` per kind of items.
        """
        raise NotImplementedError(type(self).__name__)

    def loss_weights_at(self, progress: float) -> dict[str, float]:
        """Return the weight of each loss term at a training step. By default the weights are the same at all steps.

        Args:
            progress: Fraction of the training steps completed, from 0 to 1.
        """
        return self.loss_weights

    def start_step(self, progress: float) -> None:
        """Prepare for an optimizer step; called once before the batch of each step is processed.

        Args:
            progress: Fraction of the training steps completed, from 0 to 1.
        """

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the pre-trained encoder, which can be frozen while new layers are trained."""
        raise NotImplementedError(type(self).__name__)

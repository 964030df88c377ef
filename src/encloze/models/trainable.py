"""What the training loop trains: a module that draws a batch's random choices and sums its losses by term."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn


class Rows(NamedTuple):
    """Vectors of several things of one kind, and what is known of each."""

    vectors: tuple[Tensor, ...]
    """float, things x ...: each of them a row for each thing."""
    marks: Tensor
    """int64, things x marks."""


class Terms(NamedTuple):
    """What a module's call returns."""

    sums: dict[str, Tensor]
    """The summed losses by term, and how many guesses were right."""
    compared: tuple[Rows, ...] = ()
    """What cannot be summed part by part: kinds of things that are compared with those of all processes and parts."""


class Trainable(nn.Module):
    """A module under training.

    The loop first calls ``draw``, which makes every random choice of a batch and gives a record with ``counts()``: how
    many items each term of the loss will be summed over. Then it calls the module with what was drawn, which returns
    ``Terms``. The loop divides by the counts of all processes and accumulated batches, so these never change the loss.
    """

    weights: dict[str, float]
    """The weight of each term in the loss; terms without one are only logged."""
    compares: bool = False
    """Whether its calls give something to ``compare``."""

    def draw(self, batch: Any) -> Any:
        """The batch with its random choices made."""
        raise NotImplementedError(type(self).__name__)

    def compare(self, compared: tuple[Rows, ...]) -> dict[str, Tensor]:
        """The sums of more terms, over the things of a whole step."""
        raise NotImplementedError(type(self).__name__)

    def weights_at(self, done: float) -> dict[str, float]:
        """The weights after a share of the steps; most stay as they are."""
        return self.weights

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What a warm-up of the new parts leaves as it is."""
        raise NotImplementedError(type(self).__name__)

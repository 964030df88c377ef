"""Base class of the pre-training objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.family import Family
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import PretrainingModule
from encloze.text.contexts.base import Context
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Objective(Family):
    """Base class of the pre-training objectives. An objective contains settings, and builds the module that is trained.

    A subclass implements ``build_module``. The module samples masks with ``sample`` and returns summed loss terms from
    ``forward``; see ``PretrainingModule``.

    Example:
        >>> objective = Objective.from_name("retromae")
        >>> objective.decoder_mask_rate, objective.needs_mlm_head
        (0.5, True)
    """

    needs_mlm_head: ClassVar[bool] = True
    """Whether the objective predicts tokens, which requires an encoder with a head for masked language modeling."""
    encoder_passes: ClassVar[int] = 1
    """Number of times each text is encoded in a training step."""

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> PretrainingModule:
        """Build the module that the training loop trains.

        Args:
            backbone: Encoder to train.
            tokenizer: Tokenizer of the encoder.
            pooling: Pooling of the encoder's sentence embeddings; an objective may use another pooling method.

        Returns:
            Module with the encoder and the new layers of the objective, randomly initialized.

        Raises:
            RecipeError: The encoder is not suitable for the objective.
        """
        raise NotImplementedError(type(self).__name__)

    def pair_source(self) -> Context | None:
        """Return the ``Context`` that chooses the second text of each pair; None if the objective uses no pairs."""
        return None

    def check_fractions(self, *names: str) -> None:
        """Raise ValueError if one of the named settings is 0 or less, or 1 or more."""
        for name in names:
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}. 0 and 1 are not allowed")

    def check_positive(self, *names: str) -> None:
        """Raise ValueError if one of the named settings is 0 or less; None is allowed."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")

    def check_non_negative(self, *names: str) -> None:
        """Raise ValueError if one of the named settings is below 0."""
        for name in names:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


def resolve_bottleneck(bottleneck: Pooling | None, pooling: Pooling) -> Pooling:
    """Return the pooling method of the embedding that decoders receive.

    Args:
        bottleneck: The pooling method that is set in the objective; None if it is not set.
        pooling: The pooling method of the model, which is used if ``bottleneck`` is None.

    Raises:
        RecipeError: The model pools by max, and no bottleneck is set.
    """
    if bottleneck is None and pooling == "max":
        message = "the model uses max pooling, but the decoder needs a cls or mean embedding: set bottleneck"
        raise RecipeError("the objective", [("objective.bottleneck", message)])
    return bottleneck or pooling

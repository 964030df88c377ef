"""Base class of origins, which load or create the initial model for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.family import Family
from encloze.models.encoder_config import EncoderConfig
from encloze.text.tokenizer import Tokenizer


class InitialModel(NamedTuple):
    """A model before training."""

    backbone: Backbone
    tokenizer: Tokenizer
    config: EncoderConfig
    decoders: Path | None = None
    """File with the decoder weights that an earlier pre-training run saved, so that a new run can start from them. None
    if the model has no such file."""
    fingerprint: str = ""
    """Hash of the model's weights, tokenizer and encoding configuration; empty if the weights are random."""
    head_weights: Mapping[str, Tensor] | None = None
    """Weights of the heads that the model has. None if it has no such weights."""


@dataclass(frozen=True)
class Origin(Family):
    """Base class of origins, which load or create the initial model for training.

    If a setting is not the name of an origin, it is the name of an existing model: a folder, an id on the Hugging Face
    hub, or ``minilm``.
    """

    default_member: ClassVar[str | None] = "pretrained"

    def label(self) -> str:
        """Return the name of this origin, which is shown in messages and saved with results."""
        return self.name

    def load(self, texts: Callable[[], Iterator[str]], *, require_mlm_head: bool, seed: int) -> InitialModel:
        """Load or create the model.

        Args:
            texts: Function that returns an iterator over the training texts, for origins that train a tokenizer.
            require_mlm_head: Whether to add a head for masked language modeling if the model has none.
            seed: Seed of random weights.

        Returns:
            The model on the CPU.

        Raises:
            CheckpointError: If the model cannot be loaded.
        """
        raise NotImplementedError(type(self).__name__)

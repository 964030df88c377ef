"""An origin: the source of the initial model for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

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
    """File with the decoder weights of an earlier pre-training run, from which a new run can continue."""
    fingerprint: str = ""
    """Hash of weights, tokenizer and configuration; empty if the weights are random."""
    heads: Path | None = None
    """File with the head weights of an earlier fine-tuning run."""


@dataclass(frozen=True)
class Origin(Family):
    """Base class of origins, which load or create the initial model for training.

    A name that is not the name of an origin is taken as the name of a model: a folder, a hub id, or ``minilm``.
    """

    default_member: ClassVar[str | None] = "pretrained"

    def label(self) -> str:
        """Return the name of this origin that messages show and that is saved with results."""
        return self.name

    def load(self, texts: Callable[[], Iterator[str]], *, require_mlm_head: bool, seed: int) -> InitialModel:
        """Load or create the model.

        Args:
            texts: Function that returns an iterator over the training texts, for origins that depend on them.
            require_mlm_head: Whether a missing head for masked language modeling is added.
            seed: Seed of random weights.

        Returns:
            The model on the CPU.

        Raises:
            CheckpointError: If the model cannot be loaded.
        """
        raise NotImplementedError(type(self).__name__)

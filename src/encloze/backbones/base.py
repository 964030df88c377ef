"""A backbone: a transformer encoder, perhaps with the head that predicts masked tokens."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encloze import progress
from encloze.errors import CheckpointError
from encloze.family import Family

# Shapes: batch, length, width (of a hidden state), vocabulary.


class Backbone(nn.Module, Family):
    """An encoder family's classes of transformers, behind the calls that objectives and heads are written with.

    ``model`` is one of transformers' ForMaskedLM models, or a bare encoder where ``has_head`` is false. A member is
    named like the ``model_type`` in its config.json. This class itself serves families that have no member: it can
    encode, which is enough to fine-tune, index and search, and not to pre-train.
    """

    def __init__(self, model: Any, *, has_head: bool, head_is_new: bool = False) -> None:
        super().__init__()
        self.model = model
        self.has_head, self.head_is_new = has_head, head_is_new

    @classmethod
    def load(cls, folder: Path, *, need_head: bool) -> Backbone:
        """The encoder in a folder. A head that is there is kept; with ``need_head`` a missing one is made and said.

        A new head is random but for its last matrix, which is the token embeddings'. Raises CheckpointError.
        """
        from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

        with _explained(folder):
            config = AutoConfig.from_pretrained(folder)
            if config.is_encoder_decoder:
                raise CheckpointError(f"{folder} is an encoder-decoder ({config.model_type}); only encoders serve here")
            if config.is_encoder_decoder:
                raise CheckpointError(f"{folder} is an encoder-decoder ({config.model_type}); only encoders serve here")
            member = cls._for(config.model_type, need_head=need_head)
            trained_with_head = any(name.endswith("ForMaskedLM") for name in config.architectures or [])
            if not (trained_with_head or need_head):
                return member(_without_pooler(AutoModel.from_pretrained(folder)), has_head=False)
            model, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
        missing = [name for name in report["missing_keys"] if "position_ids" not in name]
        encoder_missing = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
        if encoder_missing:
            raise CheckpointError(f"{folder} lacks weights of its encoder: {', '.join(encoder_missing[:3])}")
        if missing:
            progress.note(
                f"{folder.name} has no head for masked language modelling: it gets a new one, tied to its embeddings"
            )
        return member(model, has_head=True, head_is_new=bool(missing))

    @classmethod
    def new(cls, config: Any) -> Backbone:
        """A backbone with random weights, drawn from torch's generator, from one of transformers' configurations."""
        from transformers import AutoModelForMaskedLM

        return cls._for(config.model_type, need_head=True)(AutoModelForMaskedLM.from_config(config), has_head=True)

    @classmethod
    def _for(cls, model_type: str, *, need_head: bool) -> type[Backbone]:
        name = model_type.replace("-", "_")
        if name in cls.members():
            return cls.member(name)
        if need_head:
            raise CheckpointError(
                f"encoders of the type {model_type!r} can be fine-tuned and searched with, but not pre-trained yet; "
                f"those of these types can: {', '.join(cls.members())}"
            )
        return Backbone

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def max_tokens(self) -> int:
        """The longest input, special tokens included."""
        # RoBERTa and its kin count positions from the padding's number on, so the first ones are never used.
        skipped = getattr(getattr(self.encoder, "embeddings", None), "padding_idx", None)
        return int(self.config.max_position_embeddings) - (0 if skipped is None else int(skipped) + 1)

    @property
    def encoder(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    def encode(self, ids: Tensor, attention: Tensor) -> Tensor:
        """The last hidden states: batch x length x width, of ids and a mask (true where no padding) batch x length."""
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=attention.long()).last_hidden_state
        return hidden

    def embed(self, ids: Tensor) -> Tensor:
        """What enters the first layer for ids batch x length: batch x length x width."""
        raise NotImplementedError(type(self).__name__)

    def place(self, vectors: Tensor) -> Tensor:
        """Vectors (batch x length x width) in the place of token vectors: positions added, normalised, dropped out."""
        raise NotImplementedError(type(self).__name__)

    def positions(self, length: int) -> Tensor:
        """The bare position vectors of the first ``length`` places: length x width."""
        raise NotImplementedError(type(self).__name__)

    def predict(self, hidden: Tensor) -> Tensor:
        """The logits of the masked-language-modelling head: ... x vocabulary, of hidden states ... x width."""
        raise NotImplementedError(type(self).__name__)

    def head(self) -> nn.Module:
        """The module that ``predict`` calls."""
        raise NotImplementedError(type(self).__name__)

    def layers(self) -> nn.ModuleList:
        """The encoder's layers, first to last: the longest list of modules in it."""
        lists = [module for module in self.encoder.modules() if isinstance(module, nn.ModuleList)]
        if not lists:
            raise CheckpointError(
                f"encoders of the type {self.config.model_type!r} have no list of layers to checkpoint"
            )
        return max(lists, key=len)

    def checkpoint_gradients(self) -> None:
        """Keep only each layer's input and compute the rest again on the way back: less memory, a third more time."""
        for layer in self.layers():
            if not isinstance(layer.forward, functools.partial):  # not done already
                layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors as transformers reads them."""
        with _quiet():
            self.model.save_pretrained(folder)


def _without_pooler(model: Any) -> Any:
    """The encoder without BERT's pooler, which may be random and which no embedding here goes through."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and tables: what matters of them is said by the caller."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        with _quiet():
            yield
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{folder} cannot be loaded as an encoder: {first}") from error


def device() -> torch.device:
    """The processor that work runs on: the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

"""A backbone: a transformer encoder, with or without its head for masked language modeling (MLM)."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from encloze import progress
from encloze.backbones._embeddings import (
    embed_tokens,
    embed_vectors,
    first_layer_input,
    position_table,
    project_embeddings,
)
from encloze.backbones._mlm_models import missing_class, require_head, without_module, without_pooler
from encloze.backbones._verification import Part, is_causal, verified_parts
from encloze.backbones.hf.forward import enable_activation_checkpointing
from encloze.backbones.hf.inference import InferenceCopy
from encloze.backbones.hf.layer_config import LayerConfig
from encloze.backbones.hf.limits import max_input_tokens
from encloze.backbones.hf.loading import loading, quiet_transformers
from encloze.backbones.hf.weights import load_config, load_weights
from encloze.errors import CheckpointError, RecipeError
from encloze.family import Family

_DTYPE = torch.float32  # small updates vanish in bfloat16 weights; autocast shortens the products instead


class MlmHead(nn.Module):
    """The head for masked language modeling of a transformers model, as two modules that share the model's parameters.

    Args:
        transform: The layers before the decoder. They map ... x hidden size to ... x embedding size.
        decoder: The last linear layer. It maps ... x embedding size to ... x vocabulary.
    """

    def __init__(self, transform: nn.Module, decoder: nn.Linear) -> None:
        super().__init__()
        self.transform, self.decoder = transform, decoder

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits (... x vocabulary) for hidden states (... x hidden size)."""
        logits: Tensor = self.decoder(self.transform(rows))
        return logits


class Backbone(nn.Module, Family):
    """A transformers encoder with the methods that pre-training objectives, heads and decoders call.

    Each subclass supports one ``model_type`` of config.json. This base class supports all other encoders: it finds
    their embeddings and MLM head by the usual attribute names. Before one of these is used, its output on a tiny input
    is compared with that of a complete forward pass.

    In tensor shapes, ``hidden`` is the hidden size and ``vocabulary`` the vocabulary size. ``ids`` are int64.
    ``attention_mask`` is bool, true for all tokens except padding. Both are batch x length.

    Args:
        model: A transformers ForMaskedLM model, or an encoder if ``has_mlm_head`` is false.
        has_mlm_head: Whether the model has a head for masked language modeling.
        mlm_head_is_new: Whether this head is randomly initialized.

    Example:
        >>> backbone = Backbone.load(Path("my_model"), require_mlm_head=False)
        >>> ids = torch.tensor([[101, 2543, 102]])
        >>> backbone.encode(ids, torch.ones_like(ids).bool()).shape
        torch.Size([1, 3, 384])
    """

    def __init__(self, model: Any, *, has_mlm_head: bool, mlm_head_is_new: bool = False) -> None:
        super().__init__()
        self.model = model
        self.has_mlm_head, self.mlm_head_is_new = has_mlm_head, mlm_head_is_new
        self._inference = InferenceCopy()

    @classmethod
    def load(cls, folder: Path, *, require_mlm_head: bool) -> Backbone:
        """Load the encoder in a model folder, in float32.

        Args:
            folder: A model folder in the layout of transformers.
            require_mlm_head: Whether a missing head for masked language modeling is added. The new head is randomly
                initialized except for its last matrix, which is tied to the token embeddings if the sizes allow it.
                A progress note reports the new head. If false, the head is loaded if the folder contains one, and no
                head is added otherwise.

        Returns:
            A backbone of the class for the encoder's model type.

        Raises:
            CheckpointError: If the folder holds no encoder or lacks weights, or if ``require_mlm_head`` is true and
                encloze cannot use the head of this model type.

        Example:
            >>> Backbone.load(Path("my_model"), require_mlm_head=True).has_mlm_head
            True
        """
        from transformers import AutoModel, AutoModelForMaskedLM

        with loading(folder):
            config = load_config(folder)
            if config.is_encoder_decoder:
                raise CheckpointError(
                    f"{folder} is an encoder-decoder model ({config.model_type}). Use an encoder, such as BERT"
                )
            no_class, names = missing_class(config), config.architectures or []
            if not require_mlm_head and (no_class or not any(name.endswith("ForMaskedLM") for name in names)):
                encoder, _ = load_weights(AutoModel, folder, config, _DTYPE)
                return cls._member_for(config)(without_pooler(encoder), has_mlm_head=False)
            require_head(config, no_class)
            model, missing = load_weights(AutoModelForMaskedLM, folder, config, _DTYPE)
        if missing and not require_mlm_head:
            return cls._member_for(config)(without_pooler(model.base_model), has_mlm_head=False)
        backbone = cls._member_for(config)(model, has_mlm_head=True, mlm_head_is_new=bool(missing))
        if require_mlm_head:
            require_head(config, backbone.missing_mlm_head_reason())
        if missing:
            tied = ", tied to the token embeddings" if backbone._tie_mlm_head(missing) else ""
            progress.note(
                f"{folder.name} has no head for masked language modeling: a new one is initialized randomly{tied}"
            )
        return backbone

    @classmethod
    def from_config(cls, config: Any) -> Backbone:
        """Create a backbone with random weights, drawn from torch's global generator.

        Args:
            config: A transformers configuration of an encoder.

        Returns:
            A backbone with a head for masked language modeling.

        Raises:
            CheckpointError: If encloze cannot use the head of this model type.

        Example:
            >>> Backbone.from_config(transformers.BertConfig(num_hidden_layers=2)).hidden_size
            768
        """
        from transformers import AutoModelForMaskedLM

        require_head(config, missing_class(config))
        return cls.from_model(AutoModelForMaskedLM.from_config(config))

    @classmethod
    def from_model(cls, model: Any) -> Backbone:
        """Create a backbone from a transformers ForMaskedLM model that is already loaded.

        Raises:
            CheckpointError: If encloze cannot use the model's head for masked language modeling.
        """
        backbone = cls._member_for(model.config)(model, has_mlm_head=True)
        require_head(model.config, backbone.missing_mlm_head_reason())
        return backbone

    @classmethod
    def _member_for(cls, config: Any) -> type[Backbone]:
        """Return the subclass of ``Backbone`` for the model type of a configuration; ``Backbone`` if there is none."""
        name = config.model_type.replace("-", "_")
        return cls.member(name) if name in cls.members() else Backbone

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def encoder(self) -> Any:
        """The transformers model without its head."""
        return self.model.base_model

    @property
    def hidden_size(self) -> int:
        """The size of hidden states."""
        return int(self.config.hidden_size)

    @property
    def max_tokens(self) -> int:
        """The longest input in tokens, including special tokens; 512 if the encoder sets no limit."""
        return max_input_tokens(self.config, self.encoder)

    @property
    def has_token_types(self) -> bool:
        """Whether the encoder distinguishes token types."""
        return int(getattr(self.config, "type_vocab_size", 0) or 0) > 1

    def is_causal(self) -> bool:
        """Return whether the state of a token depends only on the tokens before it, as in decoders."""
        is_masked_lm = missing_class(self.config) is None and not getattr(self.config, "is_decoder", False)
        return not is_masked_lm and is_causal(self.encoder)

    @property
    def layer_config(self) -> LayerConfig:
        """Sizes and dropout rates of one encoder layer, which the layers of pre-training decoders also have."""
        return LayerConfig.from_config(self.config)

    def encode_for_inference(self, ids: Tensor, attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what ``encode`` returns, in float32, from matrix products in ``dtype``: faster on a CPU."""
        fast = self.for_inference(dtype)
        is_mixed = fast is self and dtype != torch.float32  # the copy has weights in dtype
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=is_mixed):
            return fast.encode(ids, attention_mask).float()

    def for_inference(self, dtype: torch.dtype) -> Self:
        """Return a backbone with weights in ``dtype`` that encodes faster on a CPU, or this one (see InferenceCopy)."""
        if (model := self._inference.of(self.model, dtype)) is self.model:
            return self
        fast = copy.copy(self)
        fast.__dict__["_modules"] = {**self._modules, "model": model}
        return fast

    def encode(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the hidden states of the last layer: batch x length x hidden."""
        states: Tensor = self.encoder(input_ids=ids, attention_mask=attention_mask.long()).last_hidden_state
        return states

    def encode_with_layer(self, ids: Tensor, attention_mask: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the hidden states of the last layer and of layer ``layer``, from one forward pass.

        Args:
            ids: Token ids, batch x length.
            attention_mask: Attention mask, batch x length.
            layer: Index of the layer, from 1 to the number of layers - 1.

        Returns:
            The states of the last layer and those of layer ``layer``, each batch x length x hidden.

        Raises:
            RecipeError: If there is no such layer.
        """
        output = self.encoder(input_ids=ids, attention_mask=attention_mask.long(), output_hidden_states=True)
        num_layers = len(output.hidden_states) - 1  # the first are the embeddings
        if not 0 < layer < num_layers:
            message = f"must be from 1 to {num_layers - 1}, because the encoder has {num_layers} layers, not {layer}"
            raise RecipeError("the objective", [("layer", message)])
        return output.last_hidden_state, output.hidden_states[layer]

    def embed(self, ids: Tensor) -> Tensor:
        """Return the input of the first layer (embeddings, not ids) for token ids: batch x length x hidden."""
        if "embeddings" in self._verified_parts:
            return embed_tokens(self.encoder, ids)
        return first_layer_input(self.encoder, ids)

    @property
    def has_position_embeddings(self) -> bool:
        """Whether the encoder adds absolute position embeddings (vectors of the hidden size) to token embeddings."""
        return "positions" in self._verified_parts

    def add_position_embeddings(self, vectors: Tensor) -> Tensor:
        """Apply the embedding module to vectors in place of token embeddings; it adds the position embeddings.

        Args:
            vectors: Vectors in place of token embeddings: batch x length x hidden.

        Returns:
            The sums of vectors and position embeddings, after LayerNorm and dropout: batch x length x hidden.

        Raises:
            NotImplementedError: If ``has_position_embeddings`` is false.
        """
        self._require_position_embeddings()
        return embed_vectors(self.encoder, vectors)

    def position_embeddings(self, length: int) -> Tensor:
        """Return the embeddings of the first ``length`` positions: length x hidden.

        Raises:
            NotImplementedError: If ``has_position_embeddings`` is false.
        """
        self._require_position_embeddings()
        return position_table(self.encoder, length)

    def mix_token_embeddings(self, weights: Tensor) -> Tensor:
        """Return, for each row of ``weights``, the weighted sum of all token embeddings (batch x hidden).

        The shape of ``weights`` is batch x vocabulary. Gradients flow to the weights, not to the embeddings.
        """
        matrix = self.encoder.get_input_embeddings().weight.detach()
        return project_embeddings(self.encoder, weights.to(matrix.dtype) @ matrix)

    def mlm_head(self) -> MlmHead:
        """Return the head for masked language modeling. It shares its parameters with the model."""
        decoder = self.model.get_output_embeddings()
        parts = (without_module(part, decoder) for part in self.model.children() if part is not self.encoder)
        return MlmHead(nn.Sequential(*parts), decoder)

    def mlm_logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the MLM head (any shape x vocabulary) for hidden states (the same shape x hidden)."""
        logits: Tensor = self.mlm_head()(hidden)
        return logits

    def missing_mlm_head_reason(self) -> str | None:
        """Return the reason why the head for masked language modeling cannot be used; None if it can be used."""
        if not self.has_mlm_head:
            return "the model folder has no weights of such a head"
        return None if "mlm_head" in self._verified_parts else "the layers of its head could not be identified"

    def layers(self) -> nn.ModuleList:
        """Return the layers of the encoder, first to last: the items of its longest ModuleList."""
        lists = [module for module in self.encoder.modules() if isinstance(module, nn.ModuleList)]
        if not lists:
            raise CheckpointError(
                f"encoders of type {self.config.model_type!r} have no list of layers. Switch off gradient checkpointing"
            )
        return max(lists, key=len)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass: less memory, about a third more time, the same results."""
        for layer in self.layers():
            enable_activation_checkpointing(layer)

    def freeze_mlm_head(self) -> None:
        """Exclude the MLM head from training, except an output matrix that is tied to the token embeddings."""
        self.model.requires_grad_(False)
        self.encoder.requires_grad_(True)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors to ``folder``, in the layout of transformers."""
        with quiet_transformers():
            self.model.save_pretrained(folder)

    def _tie_mlm_head(self, missing: list[str]) -> bool:
        """Tie the output matrix of a new MLM head to the token embeddings if possible; return whether it is tied."""
        if self.missing_mlm_head_reason() is not None:
            return False
        words, last = self.encoder.get_input_embeddings().weight, self.mlm_head().decoder.weight
        names = {name for name, weight in self.model.named_parameters(remove_duplicate=False) if weight is last}
        if last is not words and last.shape == words.shape and names & set(missing):
            self.config.tie_word_embeddings = True
            self.model.tie_weights()
        return self.mlm_head().decoder.weight is words

    def _require_position_embeddings(self) -> None:
        if not self.has_position_embeddings:
            raise NotImplementedError(f"{self.config.model_type!r} encoders have no absolute position embeddings")

    @functools.cached_property
    def _verified_parts(self) -> frozenset[Part]:
        return verified_parts(self.model, self.mlm_head)


def lm_head(module: Any) -> MlmHead:
    """Return the MLM head that consists of the layers of ``module``, the ``lm_head`` of a RoBERTa-like model."""
    return MlmHead(nn.Sequential(module.dense, nn.GELU(), module.layer_norm), module.decoder)

"""Origin that creates an encoder with random weights, and trains a tokenizer on the corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Literal

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.models.encoder_config import EncoderConfig
from encloze.models.origins.base import InitialModel, Origin
from encloze.settings import Range
from encloze.text.tokenizer_training import TokenizerSettings, train_tokenizer
from encloze.text.vocabulary_coverage import unknown_token_rate

_SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (6, 384), "base": (12, 768)}  # layers, hidden size
_HEAD_SIZE = 64  # dimensions of one attention head
_CHECKED_TEXTS = 1000
_MAX_UNKNOWN = 0.01


@dataclass(frozen=True)
class Scratch(Origin, name="scratch"):
    """A new encoder of BERT's architecture, for languages and domains without a suitable pre-trained encoder."""

    size: Literal["tiny", "mini", "small", "base"] = "mini"
    """Number of layers x hidden size: ``tiny`` is 2 x 128, ``mini`` 4 x 256, ``small`` 6 x 384, ``base`` 12 x 768."""
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    """Settings of the tokenizer, which is trained on the corpus."""
    max_tokens: Annotated[int, Range(ge=1, le=65536)] = 512
    """Maximum input length of the encoder in tokens, including special tokens."""

    def label(self) -> str:
        return f"scratch ({self.size})"

    def load(self, texts: Callable[[], Iterator[str]], *, require_mlm_head: bool, seed: int) -> InitialModel:
        import torch
        from transformers import BertConfig

        algorithm = self.tokenizer.algorithm
        with progress.task(f"Training a {algorithm} tokenizer"):
            tokenizer = train_tokenizer(texts, self.tokenizer)
        unknown = unknown_token_rate(tokenizer, list(islice(texts(), _CHECKED_TEXTS)))
        if unknown > _MAX_UNKNOWN:
            progress.warn(
                f"{unknown:.1%} of the corpus tokens are unknown to the new {algorithm} tokenizer. Set "
                "--model.tokenizer.algorithm unigram, whose vocabulary includes every character of the corpus"
            )
        layers, hidden_size = _SIZES[self.size]
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=tokenizer.vocab_size,
            num_hidden_layers=layers,
            hidden_size=hidden_size,
            num_attention_heads=hidden_size // _HEAD_SIZE,
            intermediate_size=4 * hidden_size,
            max_position_embeddings=self.max_tokens,
            pad_token_id=tokenizer.special_id("pad"),
        )
        encoding = EncoderConfig(max_query_tokens=min(64, self.max_tokens), max_document_tokens=self.max_tokens)
        return InitialModel(Backbone.from_config(config), tokenizer, encoding)

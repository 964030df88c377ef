"""A new encoder with random weights and a tokenizer made from the corpus, where no encoder fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.models.checkpoint import Card
from encloze.models.origins.base import Origin, Start
from encloze.text.training import TokenizerFromCorpus, train_tokenizer, unknown_share

# Layers x width; heads are 64 wide.
_SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (6, 384), "base": (12, 768)}
_CHECKED_TEXTS = 1000


@dataclass(frozen=True)
class Scratch(Origin, name="scratch"):
    """BERT's architecture, for languages and domains that have no encoder."""

    size: Literal["tiny", "mini", "small", "base"] = "mini"
    """Layers x width: tiny 2x128, mini 4x256, small 6x384, base 12x768."""
    tokenizer: TokenizerFromCorpus = field(default_factory=TokenizerFromCorpus)
    """How the tokenizer is made."""
    max_tokens: int = 512
    """The longest text the encoder will take."""

    def label(self) -> str:
        return f"scratch ({self.size})"

    def start(self, texts: Callable[[], Iterator[str]], *, need_head: bool, seed: int) -> Start:
        import torch
        from transformers import BertConfig

        with progress.task(f"Training a {self.tokenizer.kind} tokenizer"):
            tokenizer = train_tokenizer(texts, self.tokenizer)
        unknown = unknown_share(tokenizer, list(islice(texts(), _CHECKED_TEXTS)))
        if unknown > 0.01:
            progress.warn(
                f"{unknown:.1%} of the tokens are unknown to the new {self.tokenizer.kind} tokenizer; "
                "--model.tokenizer.kind unigram knows every letter of the corpus"
            )
        layers, width = _SIZES[self.size]
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=tokenizer.size,
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
            max_position_embeddings=self.max_tokens,
            pad_token_id=tokenizer.id_of("pad"),
        )
        card = Card(max_query_tokens=min(64, self.max_tokens), max_document_tokens=self.max_tokens)
        return Start(Backbone.new(config), tokenizer, card)

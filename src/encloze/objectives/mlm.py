"""Masked language modelling (Devlin et al., 2019): guess the words that were taken out of a text.

Domain-adaptive pre-training (Gururangan et al., ACL 2020) is this on the texts of a domain, from an encoder that
knows the language. Next-sentence prediction, BERT's other half, is left out: RoBERTa found it no help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.masking import Masked, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.objectives.base import Objective, PretrainingModule, Reading, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Mlm(Objective, name="mlm"):
    """Guess missing words: adapts an encoder to a domain's language, or begins one."""

    encoder_mask_rate: float = 0.15
    """Share of the tokens whose words are taken out."""
    whole_words: bool = True
    """Whether all tokens of a word go together."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate")

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> MlmModule:
        return MlmModule(self, backbone, tokenizer, pooling)


class Drawn(NamedTuple):
    """Texts with holes."""

    texts: TokenBatch
    encoder: Masked

    def counts(self) -> dict[str, Tensor]:
        return tokens_of(encoder=self.encoder.labels)


class MlmModule(PretrainingModule):
    """The encoder and its head."""

    def __init__(self, settings: Mlm, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"encoder": 1.0}

    def draw(self, batch: TokenBatch) -> Drawn:
        texts = batch if self.settings.whole_words else batch.each_token_a_word()
        return Drawn(batch, self.masked(texts, self.settings.encoder_mask_rate))

    def read(self, drawn: Drawn) -> Reading:
        return self.read_masked(drawn.texts, drawn.encoder)

"""Masked language modeling (Devlin et al., 2019, https://arxiv.org/abs/1810.04805).

Domain-adaptive pre-training (Gururangan et al., ACL 2020) is this objective on texts of a domain, starting from a
pre-trained encoder. BERT's next-sentence prediction is omitted, because RoBERTa found no benefit from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from encloze.backbones.base import Backbone
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import MaskedBatch, PretrainingModule
from encloze.objectives.base import Objective
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Mlm(Objective, name="mlm"):
    """Predict masked words: adapts an encoder to the language of a domain, or trains an encoder from random weights.

    Example:
        >>> Mlm(encoder_mask_rate=0.3).whole_word_masking
        True
    """

    encoder_mask_rate: float = 0.15
    """Fraction of tokens masked."""
    whole_word_masking: bool = True
    """Whether all tokens of a word are masked together."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate")

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> MlmModule:
        return MlmModule(self, backbone, tokenizer, pooling)


class MlmModule(PretrainingModule):
    """Encoder and its head for masked language modeling."""

    def __init__(self, settings: Mlm, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.loss_weights = settings, {"encoder": 1.0}

    def sample(self, batch: TokenBatch) -> MaskedBatch:
        texts = batch if self.settings.whole_word_masking else batch.split_words()
        return MaskedBatch(batch, self.mask_tokens(texts, self.settings.encoder_mask_rate))

"""DupMAE (Xiao et al., ACL 2023, https://arxiv.org/abs/2305.02564): RetroMAE with a bag-of-words term.

The sentence embedding reconstructs the text as in RetroMAE. The other tokens' hidden states, projected to the
vocabulary and max-pooled over positions, predict which tokens the text contains (section 3.2). ``preset`` selects the
equations of the paper or of the released code (staoxiao/RetroMAE, modeling_duplex.py), which differ:

| | paper | released |
|---|---|---|
| projection to the vocabulary | one linear map of its own (Eq. 6) | head for masked language modeling |
| pooled positions | unmasked tokens | all but the first; masked tokens and the last special token included |
| weight of each distinct token | 1 | 1 / number of tokens, repetitions counted |
| weight of the term | 1 | 0.1 |

Enhanced decoding is RetroMAE's: each position has its own mask, and the query stream is normalized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone, MlmHead
from encloze.models.layers.bag_of_words import bag_of_words_loss, multi_hot
from encloze.models.layers.decoders import EnhancedDecoder
from encloze.models.layers.initialization import init_bert_weights
from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch, enhanced_decoding_mask
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import max_logits
from encloze.models.pretraining_module import EncoderOutput, MaskedBatch, PretrainingModule, token_counts
from encloze.objectives.base import Objective, resolve_bottleneck
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class DupMae(Objective, name="dupmae"):
    """Reconstruct a text from its embedding, and predict from its tokens' vectors which tokens it contains.

    Example:
        >>> DupMae(preset="paper").encoder_mask_rate
        0.3
    """

    preset: Literal["paper", "released"] = "released"
    """Whether the bag-of-words loss term follows the equations of the paper or of the released code."""
    bow_weight: float | None = None
    """Weight of the bag-of-words loss term. The default depends on ``preset``: 1 (paper) or 0.1 (released)."""
    encoder_mask_rate: float = 0.30
    """Fraction of tokens masked for the encoder."""
    decoder_mask_rate: float = 0.50
    """Fraction of tokens that a decoder position cannot attend to; each position has its own random mask."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Pooling of the embedding that the decoder receives; the default is the pooling of the model."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("bow_weight")

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> DupMaeModule:
        return DupMaeModule(self, backbone, tokenizer, resolve_bottleneck(self.bottleneck, pooling))


@dataclass(frozen=True)
class DupMaeBatch(MaskedBatch):
    """Texts masked for the encoder, and the attention mask of the decoder."""

    decoder_attention_mask: Tensor  # bool, batch x length x length

    def decoder_labels(self) -> Tensor:
        """Return the labels of the decoder: all tokens except special tokens."""
        return torch.where(self.texts.word_ids >= 0, self.texts.ids, IGNORE_INDEX)

    def counts(self) -> dict[str, Tensor]:
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        return token_counts(encoder=self.encoder.labels, decoder=self.decoder_labels()) | {"bow": texts}


class DupMaeModule(PretrainingModule):
    """Encoder and decoder of RetroMAE; with preset ``paper`` also a projection of hidden states to the vocabulary."""

    def __init__(self, settings: DupMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.is_paper = settings, settings.preset == "paper"
        bow_weight = settings.bow_weight or (1.0 if self.is_paper else 0.1)
        self.loss_weights = {"encoder": 1.0, "decoder": 1.0, "bow": bow_weight}
        self.decoder = EnhancedDecoder(backbone, "normalized")
        if self.is_paper:
            self.projection = nn.Linear(backbone.hidden_size, backbone.config.vocab_size, bias=False)
            init_bert_weights(self.projection, backbone.layer_config.initializer_range)

    def sample(self, batch: TokenBatch) -> DupMaeBatch:
        masked = self.mask_tokens(batch, self.settings.encoder_mask_rate)
        return DupMaeBatch(batch, masked, enhanced_decoding_mask(batch, self.settings.decoder_mask_rate))

    def encode(self, sampled: DupMaeBatch) -> EncoderOutput:
        output = super().encode(sampled)
        return output._replace(sums=output.sums | {"bow": self._bow_loss(sampled, output.hidden)})

    def decode(self, sampled: DupMaeBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        (embedding,) = encoder_output.bottlenecks
        hidden = self.decoder(self.backbone, embedding, sampled.texts.ids, sampled.decoder_attention_mask)
        return self.mlm_loss("decoder", hidden, sampled.decoder_labels())

    def _bow_loss(self, sampled: DupMaeBatch, hidden: Tensor) -> Tensor:
        texts = sampled.texts
        if self.is_paper:
            content = texts.content_mask()
            positions = content & (sampled.encoder.ids != self.mask_id)
            positions |= content & ~positions.any(dim=1, keepdim=True)  # texts whose tokens are all masked
            head, weights = MlmHead(nn.Identity(), self.projection), torch.ones(len(hidden), device=hidden.device)
        else:
            positions = texts.attention_mask.clone()
            positions[:, 0] = False
            head, weights = self.backbone.mlm_head(), 1 / (texts.word_ids >= 0).sum(dim=1).clamp(min=1)
        tokens = multi_hot(texts, self.backbone.config.vocab_size)
        return bag_of_words_loss(max_logits(hidden, positions, head), tokens, weights)

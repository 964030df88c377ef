"""LexMAE (Shen et al., ICLR 2023, https://arxiv.org/abs/2208.14754): reconstruct a text from a distribution over words.

The bottleneck is lexical: the maximum logits of the vocabulary tokens over the text's positions are converted to a
distribution. Its probabilities are the weights of a sum of the token embeddings. A decoder of two layers with a head of
its own predicts masked tokens of the text from that sum. Gradients reach the encoder through the distribution, not
through the token embeddings in the sum.

The implementation follows the released code (taoshen58/LexMAE) and the abstract of the paper. All tokens masked for the
encoder are also masked for the decoder ("inclusive"), with newly sampled replacements.

Differences from the released code:
* Number of masked tokens: the code rounds mask rate x tokens up; here it is rounded to the nearest integer.
* Layers of the decoder's head before its output matrix: the code initializes them with those of the encoder's head;
  here they are initialized randomly.
* Output bias of the decoder's head: the code has a separate one; here it is that of the encoder's head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone, MlmHead
from encloze.models.layers.attention_masks import padding_mask
from encloze.models.layers.decoders import Decoder
from encloze.models.layers.initialization import init_bert_weights
from encloze.models.layers.masking import (
    DECODER_CORRUPTION,
    DECODER_SELECTION,
    IGNORE_INDEX,
    MaskedTokens,
    TokenBatch,
    corrupt_tokens,
)
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.randomness import derive_keys, example_keys, uniform
from encloze.models.layers.term_weights import apply_activation, max_logits
from encloze.models.pretraining_module import EncoderOutput, MaskedBatch, PretrainingModule, token_counts
from encloze.objectives.base import Objective
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class LexMae(Objective, name="lexmae"):
    """Reconstruct a text from a distribution over the vocabulary; suited to sparse retrieval.

    Example:
        >>> LexMae(distribution="saturated").decoder_layers
        2
    """

    encoder_mask_rate: float = 0.30
    """Fraction of tokens masked for the encoder."""
    decoder_mask_rate: float = 0.50
    """Fraction of tokens masked for the decoder, including those masked for the encoder."""
    whole_word_masking: bool = False
    """Whether all tokens of a word are masked together for the encoder."""
    distribution: Literal["softmax", "saturated"] = "softmax"
    """How logits x are converted to the distribution: ``softmax``, or ``saturated``, which is log(1 + max(0, x))
    divided by its sum over the vocabulary."""
    decoder_layers: int = 2
    """Number of decoder layers."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("decoder_layers")
        if self.decoder_mask_rate < self.encoder_mask_rate:
            raise ValueError(
                f"decoder_mask_rate is {self.decoder_mask_rate}, below encoder_mask_rate ({self.encoder_mask_rate}), "
                "but the decoder masks all tokens that the encoder masks: increase decoder_mask_rate"
            )

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> LexMaeModule:
        return LexMaeModule(self, backbone, tokenizer, pooling)


@dataclass(frozen=True)
class LexMaeBatch(MaskedBatch):
    """Texts, with the tokens masked for the encoder and the tokens masked for the decoder."""

    decoder: MaskedTokens

    def counts(self) -> dict[str, Tensor]:
        return token_counts(encoder=self.encoder.labels, decoder=self.decoder.labels)


class LexMaeModule(PretrainingModule):
    """Encoder, its MLM head, a decoder, and the decoder's head, which shares the output matrix of the MLM head."""

    def __init__(self, settings: LexMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.loss_weights = settings, {"encoder": 1.0, "decoder": 1.0}
        self.decoder = Decoder(backbone, settings.decoder_layers)
        config, size = backbone.layer_config, backbone.mlm_head().decoder.in_features
        norm = nn.LayerNorm(size, config.layer_norm_eps)
        self.transform = nn.Sequential(nn.Linear(backbone.hidden_size, size), nn.GELU(), norm)
        init_bert_weights(self.transform, config.initializer_range)

    def sample(self, batch: TokenBatch) -> LexMaeBatch:
        settings = self.settings
        texts = batch if settings.whole_word_masking else batch.split_words()
        encoder = self.mask_tokens(texts, settings.encoder_mask_rate)
        rates = (settings.encoder_mask_rate, settings.decoder_mask_rate)
        decoder = mask_additional_tokens(batch, encoder, rates, self.mask_id, self.backbone.config.vocab_size)
        return LexMaeBatch(batch, encoder, decoder)

    def encode(self, sampled: LexMaeBatch) -> EncoderOutput:
        output = super().encode(sampled)
        return output._replace(bottlenecks=(self.lexical_view(sampled.texts, output.hidden),))

    def decode(self, sampled: LexMaeBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        (embedding,) = encoder_output.bottlenecks
        attention_mask = padding_mask(sampled.texts.attention_mask)
        hidden = self.decoder(self.backbone, embedding, sampled.decoder.ids, attention_mask)
        head = MlmHead(self.transform, self.backbone.mlm_head().decoder)
        return self.mlm_loss("decoder", hidden, sampled.decoder.labels, head)

    def lexical_view(self, texts: TokenBatch, hidden: Tensor) -> Tensor:
        """Return the sum of token embeddings weighted by each text's distribution (batch x hidden size)."""
        logits = max_logits(hidden, texts.content_mask(), self.backbone.mlm_head())
        if self.settings.distribution == "softmax":
            return self.backbone.mix_token_embeddings(logits.softmax(dim=1))
        weights = apply_activation(logits, "log1p_relu")
        return self.backbone.mix_token_embeddings(weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6))


def mask_additional_tokens(
    batch: TokenBatch, masked: MaskedTokens, rates: tuple[float, float], mask_id: int, vocab_size: int
) -> MaskedTokens:
    """Mask the tokens that are masked for the encoder, and further tokens up to the mask rate of the decoder.

    As in the released code, each further token is selected independently, and the replacements of all masked tokens are
    sampled again.

    Args:
        batch: Texts to mask.
        masked: Tokens masked for the encoder.
        rates: Mask rates of the encoder and of the decoder.
        mask_id: Id of the mask token.
        vocab_size: Number of token ids.
    """
    encoder_rate, decoder_rate = rates
    positions = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    keys = example_keys(batch.seed, batch.epoch, DECODER_SELECTION, batch.example_ids)[:, None]
    is_further = uniform(derive_keys(keys, positions)) < (decoder_rate - encoder_rate) / (1 - encoder_rate)
    selected = (masked.labels != IGNORE_INDEX) | (is_further & (batch.word_ids >= 0))
    return corrupt_tokens(batch, selected, mask_id, vocab_size, DECODER_CORRUPTION)

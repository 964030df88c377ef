"""RetroMAE (Xiao et al., EMNLP 2022, https://arxiv.org/abs/2205.12035): reconstruct a text from its embedding.

The encoder reads a masked text and pools one sentence embedding. A one-layer decoder predicts every token from that
embedding and from a random half of the other tokens, sampled for each token ("enhanced decoding", section 3.3).

Differences between the paper, the released code (staoxiao/RetroMAE, FlagEmbedding) and this implementation:
* Decoder masks: each position has its own mask (paper, Eq. 7, default here); the code samples 256 or 128 masks per text
  and assigns them to positions (setting ``num_decoder_masks``).
* Query stream: sum of sentence and position embedding, with LayerNorm and dropout (FlagEmbedding) or without them
  (staoxiao/RetroMAE); see the setting ``query_stream``.
* The code masks at most 512 tokens at any mask rate; here the number is not limited.
* The code detects words by BERT's "##"; here the tokenizer provides word boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.attention_masks import padding_mask
from encloze.models.layers.decoders import Decoder, EnhancedDecoder, QueryStream
from encloze.models.layers.masking import IGNORE_INDEX, MaskedTokens, TokenBatch, enhanced_decoding_mask
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import EncoderOutput, MaskedBatch, PretrainingModule, token_counts
from encloze.objectives.base import Objective, resolve_bottleneck
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class RetroMae(Objective, name="retromae"):
    """Reconstruct a text from its embedding with a decoder too weak to reconstruct the text without the embedding.

    Example:
        >>> RetroMae(encoder_mask_rate=0.15).decoding
        'enhanced'
    """

    encoder_mask_rate: float = 0.30
    """Fraction of tokens masked for the encoder; in the paper, 0.15 to 0.30 works well and 0.90 does not."""
    decoder_mask_rate: float = 0.50
    """Fraction of tokens masked for each decoder position. In the paper 0.50 is best with enhanced and 0.70 with basic
    decoding."""
    decoding: Literal["enhanced", "basic"] = "enhanced"
    """``enhanced``: the decoder predicts every token, each with its own attention mask. ``basic``: some tokens are
    masked in the decoder's input, and it predicts only these."""
    decoder_layers: int = 1
    """Number of decoder layers; must be 1 with enhanced decoding (the paper finds no gain from more layers)."""
    query_stream: QueryStream = "normalized"
    """For enhanced decoding: whether LayerNorm and dropout are applied to the sum of sentence and position embedding
    (``normalized``) or not (``raw``)."""
    num_decoder_masks: int | None = None
    """For enhanced decoding: number of masks that are sampled per text and shared by its positions; by default each
    position has its own mask."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Pooling of the embedding that the decoder receives; the default is the pooling of the model."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("decoder_layers", "num_decoder_masks")
        if self.decoding == "basic" and (self.num_decoder_masks or self.query_stream != "normalized"):
            raise ValueError("num_decoder_masks and query_stream require decoding: enhanced. Set it, or remove them")
        if self.decoding == "enhanced" and self.decoder_layers > 1:
            raise ValueError(
                f"decoder_layers is {self.decoder_layers}, but enhanced decoding has one layer: in a second layer each "
                "position would see its own token through other positions. Set decoding: basic, or decoder_layers: 1"
            )

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> RetroMaeModule:
        return RetroMaeModule(self, backbone, tokenizer, resolve_bottleneck(self.bottleneck, pooling))


@dataclass(frozen=True)
class RetroMaeBatch(MaskedBatch):
    """Texts with masked tokens for the encoder, and the input, labels and attention mask of the decoder."""

    decoder: MaskedTokens  # enhanced: unmasked ids, every token labeled; basic: masked tokens
    decoder_attention_mask: Tensor  # bool, batch x length x length

    def counts(self) -> dict[str, Tensor]:
        return token_counts(encoder=self.encoder.labels, decoder=self.decoder.labels)


class RetroMaeModule(PretrainingModule):
    """Encoder, its head for masked language modeling, and the decoder, which uses the same head."""

    def __init__(self, settings: RetroMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.loss_weights = settings, {"encoder": 1.0, "decoder": 1.0}
        if settings.decoding == "enhanced":
            self.decoder: Decoder = EnhancedDecoder(backbone, settings.query_stream)
        else:
            self.decoder = Decoder(backbone, settings.decoder_layers)

    def sample(self, batch: TokenBatch) -> RetroMaeBatch:
        settings = self.settings
        encoder = self.mask_tokens(batch, settings.encoder_mask_rate)
        if settings.decoding == "basic":
            decoder = self.mask_tokens(batch, settings.decoder_mask_rate, decoder=True)
            return RetroMaeBatch(batch, encoder, decoder, padding_mask(batch.attention_mask))
        decoder = MaskedTokens(batch.ids, torch.where(batch.word_ids >= 0, batch.ids, IGNORE_INDEX))
        attention_mask = enhanced_decoding_mask(batch, settings.decoder_mask_rate, settings.num_decoder_masks)
        return RetroMaeBatch(batch, encoder, decoder, attention_mask)

    def decode(self, sampled: RetroMaeBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        (embedding,) = encoder_output.bottlenecks
        hidden = self.decoder(self.backbone, embedding, sampled.decoder.ids, sampled.decoder_attention_mask)
        return self.mlm_loss("decoder", hidden, sampled.decoder.labels)

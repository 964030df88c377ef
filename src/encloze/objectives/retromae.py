"""RetroMAE (Xiao et al., EMNLP 2022, https://arxiv.org/abs/2205.12035): rebuild a text from its embedding.

The encoder reads the text with holes and makes one embedding. A decoder of one layer rebuilds the text from that
embedding and, for each token apart, a random half of the other tokens (section 3.3, "enhanced decoding").

Where paper and released code (staoxiao/RetroMAE, FlagEmbedding) differ, and what stands here:
* each place draws a mask of its own (paper, Eq. 7); the code draws a pool of 256 or 128 and shares them out:
  ``decoder_patterns``.
* the query stream is embedding + position, normalised and dropped out (FlagEmbedding) or raw (the original code):
  ``query_stream``.
* the code stops masking at 512 tokens, whatever the rate; here nothing is capped.
* the code knows words by BERT's "##"; here the tokenizer tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.decoders import Decoder, EnhancedDecoder, QueryStream, everything_real
from encloze.models.layers.masking import IGNORED, Masked, TokenBatch, visible_to_decoder
from encloze.models.layers.pooling import Pooling
from encloze.objectives.base import Objective, PretrainingModule, Reading, bottleneck, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class RetroMae(Objective, name="retromae"):
    """Rebuild a text from its embedding with a decoder too weak to do it alone."""

    encoder_mask_rate: float = 0.30
    """Share of the tokens whose words the encoder does not see; the paper found .15 to .30 good and .90 bad."""
    decoder_mask_rate: float = 0.50
    """Share of the tokens that each place of the decoder does not see; .50 enhanced, .70 basic are the best."""
    decoding: Literal["enhanced", "basic"] = "enhanced"
    """enhanced: every token is predicted, from its own view; basic: masked ones only, all from one view."""
    decoder_layers: int = 1
    """Layers of the decoder; more than one only with basic decoding (the paper found them no better)."""
    query_stream: QueryStream = "normalised"
    """Whether embedding + position pass the embedding layer's norm and dropout before they ask."""
    decoder_patterns: int | None = None
    """Draw so many masks a text and share them out; by default each place draws its own."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Which embedding the text is rebuilt from; by default the one the encoder was trained to make."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("decoder_patterns")
        if self.decoder_layers < 1:
            raise ValueError(f"decoder_layers must be 1 or more, not {self.decoder_layers}")
        if self.decoding == "basic" and (self.decoder_patterns or self.query_stream != "normalised"):
            raise ValueError("decoder_patterns and query_stream are of enhanced decoding; decoding basic has neither")
        if self.decoding == "enhanced" and self.decoder_layers > 1:
            raise ValueError(
                f"decoder_layers is {self.decoder_layers}, and enhanced decoding has one: in a second layer each "
                "place would see the hidden token through its neighbours. Use decoding basic, or one layer"
            )

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> RetroMaeModule:
        return RetroMaeModule(self, backbone, tokenizer, bottleneck(self.bottleneck, pooling))


class Drawn(NamedTuple):
    """Texts with holes for the encoder, and what each place of the decoder sees and guesses."""

    texts: TokenBatch
    encoder: Masked
    decoder: Masked  # the ids as they are, every token to be guessed (enhanced), or with holes (basic)
    visible: Tensor  # bool, batch x length x length

    def counts(self) -> dict[str, Tensor]:
        return tokens_of(encoder=self.encoder.labels, decoder=self.decoder.labels)


class RetroMaeModule(PretrainingModule):
    """The encoder, its head and the decoder; both predictions go through the one head."""

    def __init__(self, settings: RetroMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"encoder": 1.0, "decoder": 1.0}
        if settings.decoding == "enhanced":
            self.decoder: Decoder = EnhancedDecoder(backbone, settings.query_stream)
        else:
            self.decoder = Decoder(backbone, settings.decoder_layers)

    def draw(self, batch: TokenBatch) -> Drawn:
        settings = self.settings
        holes = self.masked(batch, settings.encoder_mask_rate)
        if settings.decoding == "basic":
            more_holes = self.masked(batch, settings.decoder_mask_rate, decoder=True)
            return Drawn(batch, holes, more_holes, everything_real(batch.attention))
        every_token = Masked(batch.ids, torch.where(batch.words >= 0, batch.ids, IGNORED))
        visible = visible_to_decoder(batch, settings.decoder_mask_rate, settings.decoder_patterns)
        return Drawn(batch, holes, every_token, visible)

    def read(self, drawn: Drawn) -> Reading:
        return self.read_masked(drawn.texts, drawn.encoder)

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        rebuilt = self.decoder(self.backbone, reading.views[0], drawn.decoder.ids, drawn.visible)
        return self.guess("decoder", rebuilt, drawn.decoder.labels)

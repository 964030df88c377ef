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
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.models.layers.cross_entropy import labelled, summed_cross_entropy
from encloze.models.layers.decoders import DecoderLayer, everything_real, with_first
from encloze.models.layers.masking import IGNORED, TokenBatch, mask_words, visible_to_decoder
from encloze.models.layers.pooling import Pooling, pool
from encloze.objectives.base import Objective, PretrainingModule
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
    query_stream: Literal["normalised", "raw"] = "normalised"
    """Whether embedding + position pass the embedding layer's norm and dropout before they ask."""
    decoder_patterns: int | None = None
    """Draw so many masks a text and share them out; by default each place draws its own."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Which embedding the text is rebuilt from; by default the one the encoder was trained to make."""

    def __post_init__(self) -> None:
        for name in ("encoder_mask_rate", "decoder_mask_rate"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.decoder_layers < 1:
            raise ValueError(f"decoder_layers must be 1 or more, not {self.decoder_layers}")
        if self.decoding == "enhanced" and self.decoder_layers > 1:
            raise ValueError(
                f"decoder_layers is {self.decoder_layers}, and enhanced decoding has one: in a second layer each "
                "place would see the hidden token through its neighbours. Use decoding basic, or one layer"
            )

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> RetroMaeModule:
        if self.bottleneck is None and pooling == "max":
            message = "RetroMAE rebuilds from a cls or mean embedding, and this encoder pools by max: choose one"
            raise RecipeError("the objective", [("objective.bottleneck", message)])
        chosen: Pooling = self.bottleneck or pooling
        return RetroMaeModule(self, backbone, chosen, tokenizer.id_of("mask"))


class Drawn(NamedTuple):
    """A batch with its holes."""

    batch: TokenBatch
    encoder_ids: Tensor  # int64, batch x length: with holes
    encoder_labels: Tensor  # int64, batch x length
    decoder_ids: Tensor  # int64, batch x length: as they are (enhanced) or with holes (basic)
    decoder_labels: Tensor  # int64, batch x length
    visible: Tensor  # bool, batch x length x length

    def counts(self) -> dict[str, Tensor]:
        encoder, decoder = ((labels != IGNORED).sum() for labels in (self.encoder_labels, self.decoder_labels))
        return {"encoder": encoder, "decoder": decoder, "encoder_right": encoder, "decoder_right": decoder}


class RetroMaeModule(PretrainingModule):
    """The encoder, its head and the decoder; both predictions go through the one head."""

    weights: ClassVar[dict[str, float]] = {"encoder": 1.0, "decoder": 1.0}

    def __init__(self, settings: RetroMae, backbone: Backbone, pooling: Pooling, mask_id: int) -> None:
        super().__init__(backbone, pooling)
        self.settings, self.mask_id = settings, mask_id
        self.decoder = nn.ModuleList(DecoderLayer(backbone.config) for _ in range(settings.decoder_layers))
        self.checkpointed = False

    def draw(self, batch: TokenBatch) -> Drawn:
        settings, vocabulary = self.settings, self.backbone.config.vocab_size
        masked = mask_words(batch, settings.encoder_mask_rate, self.mask_id, vocabulary)
        if settings.decoding == "basic":
            holes = mask_words(batch, settings.decoder_mask_rate, self.mask_id, vocabulary, decoder=True)
            return Drawn(batch, *masked, *holes, everything_real(batch.attention))
        every_token = torch.where(batch.words >= 0, batch.ids, IGNORED)
        visible = visible_to_decoder(batch, settings.decoder_mask_rate, settings.decoder_patterns)
        return Drawn(batch, *masked, batch.ids, every_token, visible)

    def forward(self, drawn: Drawn) -> dict[str, Tensor]:
        """The summed cross-entropies of the encoder and the decoder, and their right guesses."""
        hidden = self.backbone.encode(drawn.encoder_ids, drawn.batch.attention)
        embedding = pool(hidden, drawn.batch.attention, self.pooling)
        rebuilt = self.decode(embedding, drawn.decoder_ids, drawn.visible)
        encoder = summed_cross_entropy(*labelled(hidden, drawn.encoder_labels), self.backbone.head())
        decoder = summed_cross_entropy(*labelled(rebuilt, drawn.decoder_labels), self.backbone.head())
        return {"encoder": encoder[0], "decoder": decoder[0], "encoder_right": encoder[1], "decoder_right": decoder[1]}

    def decode(self, embedding: Tensor, ids: Tensor, visible: Tensor) -> Tensor:
        """The decoder's last hidden states: batch x length x width, from the texts' embeddings (batch x width)."""
        context = with_first(embedding, self.backbone.embed(ids))
        if self.settings.decoding == "basic":
            for layer in self.decoder:
                context = self._through(layer, context, context, visible)
            return context
        return self._through(self.decoder[0], self.queries(embedding, ids.shape[1]), context, visible)

    def queries(self, embedding: Tensor, length: int) -> Tensor:
        """What each place asks with (Eq. 4): the embedding at that place."""
        everywhere = embedding[:, None].expand(-1, length, -1)
        if self.settings.query_stream == "normalised":
            return self.backbone.place(everywhere)
        return everywhere + self.backbone.positions(length)

    def decoders(self) -> nn.Module:
        return self.decoder

    def checkpoint_gradients(self) -> None:
        super().checkpoint_gradients()
        self.checkpointed = True

    def _through(self, layer: nn.Module, queries: Tensor, context: Tensor, visible: Tensor) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            passed: Tensor = checkpoint(layer, queries, context, visible, use_reentrant=False)
            return passed
        through: Tensor = layer(queries, context, visible)
        return through

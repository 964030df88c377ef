"""LexMAE (Shen et al., ICLR 2023, https://arxiv.org/abs/2208.14754): rebuild a text from a mixture of words.

The bottleneck is lexical: for each token of the vocabulary the highest logit over the text's places, made a
distribution, which mixes the token embeddings to one vector. A decoder of two layers with a head of its own fills the
holes of the text from it. Gradients reach the encoder through the distribution, not through the embeddings it mixes.

Read in the released code (taoshen58/LexMAE) and the abstract. The decoder's holes are the encoder's and more
("inclusive"), filled anew. Differences: the code masks exactly the ceiling of the rate, here it is rounded; its head's
transformation starts as the encoder's does, here at random; its head has a bias of its own, here it is the encoder's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from encloze.backbones.base import Backbone, VocabularyHead
from encloze.models.layers.cross_entropy import labelled, summed_cross_entropy
from encloze.models.layers.decoders import Decoder, begin_as_bert, everything_real
from encloze.models.layers.masking import Masked, TokenBatch, mask_more
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import activated, highest_logits
from encloze.objectives.base import Objective, PretrainingModule, Reading, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class LexMae(Objective, name="lexmae"):
    """Rebuild a text from a mixture of the words that it says most: for sparse retrieval."""

    encoder_mask_rate: float = 0.30
    """Share of the tokens that the encoder does not see."""
    decoder_mask_rate: float = 0.50
    """Share of the tokens that the decoder does not see, those of the encoder among them."""
    whole_words: bool = False
    """Whether all tokens of a word go together, for the encoder."""
    distribution: Literal["softmax", "saturated"] = "softmax"
    """How logits become a distribution: softmax, or log(1 + max(0, x)) over its sum."""
    decoder_layers: int = 2
    """Layers of the decoder."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("decoder_layers")
        if self.decoder_mask_rate < self.encoder_mask_rate:
            raise ValueError(
                f"decoder_mask_rate ({self.decoder_mask_rate}) is below encoder_mask_rate ({self.encoder_mask_rate}), "
                "and the decoder's holes are the encoder's and more"
            )

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> LexMaeModule:
        return LexMaeModule(self, backbone, tokenizer, pooling)


class Drawn(NamedTuple):
    """Texts with holes, and with more holes."""

    texts: TokenBatch
    encoder: Masked
    decoder: Masked

    def counts(self) -> dict[str, Tensor]:
        return tokens_of(encoder=self.encoder.labels, decoder=self.decoder.labels)


class LexMaeModule(PretrainingModule):
    """The encoder, its head, a plain decoder, and the transformation of the decoder's own head."""

    def __init__(self, settings: LexMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"encoder": 1.0, "decoder": 1.0}
        self.decoder = Decoder(backbone, settings.decoder_layers)
        width = backbone.head().decoder.in_features
        norm = nn.LayerNorm(width, backbone.shape.eps)
        self.transform = nn.Sequential(nn.Linear(backbone.width, width), nn.GELU(), norm)
        begin_as_bert(self.transform, backbone.shape.spread)

    def draw(self, batch: TokenBatch) -> Drawn:
        settings, vocabulary = self.settings, self.backbone.config.vocab_size
        texts = batch if settings.whole_words else batch.each_token_a_word()
        holes = self.masked(texts, settings.encoder_mask_rate)
        rates = (settings.encoder_mask_rate, settings.decoder_mask_rate)
        return Drawn(batch, holes, mask_more(batch, holes, rates, self.mask_id, vocabulary))

    def read(self, drawn: Drawn) -> Reading:
        reading = self.read_masked(drawn.texts, drawn.encoder)
        return reading._replace(views=(self.lexical_view(drawn.texts, reading.hidden),))

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        visible = everything_real(drawn.texts.attention)
        rebuilt = self.decoder(self.backbone, reading.views[0], drawn.decoder.ids, visible)
        head = VocabularyHead(self.transform, self.backbone.head().decoder)
        total, right = summed_cross_entropy(*labelled(rebuilt, drawn.decoder.labels), head)
        return {"decoder": total, "decoder_right": right}

    def lexical_view(self, texts: TokenBatch, hidden: Tensor) -> Tensor:
        """The mixture of words: batch x width, of hidden states batch x length x width."""
        logits = highest_logits(hidden, texts.own_places(), self.backbone.head())
        if self.settings.distribution == "softmax":
            return self.backbone.mix(logits.softmax(dim=1))
        weights = activated(logits, "log1p_relu")
        return self.backbone.mix(weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6))

"""CoT-MAE (Wu et al., AAAI 2023, https://arxiv.org/abs/2208.07670): rebuild a neighbour from a text's embedding.

The encoder reads a span with holes. A decoder of two plain layers gets the span's embedding and another span of the
same document, with more holes, and guesses what stood there. The decoder's span is never seen by the encoder with the
embedding it decodes from. Query-as-context (Wu et al., EMNLP 2023) is this with ``--objective.context queries``.

Read in the released code (caskcsg/ir, cotmae), not in the paper. Differences: the code's mask budget leaves the special
tokens out of the count; its spans end where sentences do; contexts are drawn once, here anew at each access.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.decoders import Decoder, everything_real
from encloze.models.layers.masking import Masked, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.objectives.base import Contextual, PretrainingModule, Reading, bottleneck, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CotMae(Contextual, name="cotmae"):
    """Rebuild a neighbouring span of the same document from a span's embedding."""

    encoder_mask_rate: float = 0.30
    """Share of the tokens whose words the encoder does not see."""
    decoder_mask_rate: float = 0.45
    """Share of the other span's tokens whose words the decoder does not see."""
    decoder_layers: int = 2
    """Layers of the decoder."""
    decoder_weight: float = 1.0
    """Weight of the decoder's term in the loss."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Which embedding the decoder gets; by default the one the encoder was trained to make."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("decoder_layers", "decoder_weight")

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CotMaeModule:
        return CotMaeModule(self, backbone, tokenizer, bottleneck(self.bottleneck, pooling))


class Drawn(NamedTuple):
    """Texts with holes, and their contexts with more holes."""

    texts: TokenBatch
    contexts: TokenBatch
    encoder: Masked
    decoder: Masked

    def counts(self) -> dict[str, Tensor]:
        return tokens_of(encoder=self.encoder.labels, decoder=self.decoder.labels)


class CotMaeModule(PretrainingModule):
    """The encoder, its head and a plain decoder."""

    def __init__(self, settings: CotMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"encoder": 1.0, "decoder": settings.decoder_weight}
        self.decoder = Decoder(backbone, settings.decoder_layers)

    def draw(self, batch: TokenBatch) -> Drawn:
        texts, contexts = self.settings.sides(batch)
        holes = self.masked(texts, self.settings.encoder_mask_rate)
        return Drawn(texts, contexts, holes, self.masked(contexts, self.settings.decoder_mask_rate, decoder=True))

    def read(self, drawn: Drawn) -> Reading:
        return self.read_masked(drawn.texts, drawn.encoder)

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        visible = everything_real(drawn.contexts.attention)
        rebuilt = self.decoder(self.backbone, reading.views[0], drawn.decoder.ids, visible)
        return self.guess("decoder", rebuilt, drawn.decoder.labels)

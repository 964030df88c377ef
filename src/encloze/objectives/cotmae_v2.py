"""In the style of CoT-MAE v2 (Wu et al., 2023, https://arxiv.org/abs/2304.03158): two views, two decoders.

A span with holes becomes a dense view (its embedding) and a sparse one (for each token of the vocabulary, the highest
logit over the places). From each view apart, a decoder fills the holes of another span of the document
(auto-encoding), and a second one tells it from left to right (auto-regressive).

The paper's code was never released and its text could not be read in full for this; what follows rests on its
abstract and on the released code of the same group (caskcsg/ir, cotmae-qc), so this is no reproduction. What is not
known is a setting: the activation of the logits, how the sparse view enters a decoder (``projection``), how many of
its entries are kept, the weights, the window of the auto-regressive decoder, whether the views share decoders. The
decoders' layers are BERT's; cotmae-qc takes GPT-2's (norm before, not after) for the auto-regressive one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.layers.decoders import Decoder, begin_as_bert, everything_real, what_came_before
from encloze.models.layers.masking import IGNORED, Masked, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import Activation, activated, highest_logits, largest
from encloze.objectives.base import Contextual, PretrainingModule, Reading, bottleneck, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CotMaeV2(Contextual, name="cotmae_v2"):
    """Rebuild a neighbouring span from a dense and from a sparse view of a span, in two ways each."""

    encoder_mask_rate: float = 0.30
    """Share of the tokens whose words the encoder does not see."""
    decoder_mask_rate: float = 0.45
    """Share of the other span's tokens whose words the auto-encoding decoder does not see."""
    decoder_layers: int = 1
    """Layers of each decoder."""
    shared_decoders: bool = True
    """Whether the two views share each decoder; else each view has a pair of its own."""
    window: int | None = None
    """How many tokens back the auto-regressive decoder sees, its own place counted; by default all."""
    activation: Activation = "log1p_relu"
    """What makes weights of logits, unless the projection is a distribution: log1p_relu (SPLADE's), relu, or raw."""
    special_places: bool = True
    """Whether the places of the special tokens speak in the sparse view (as in SPLADE; not in LexMAE)."""
    top_k: int | None = 768
    """So many of the largest weights of the sparse view are kept; null keeps all."""
    projection: Literal["embeddings", "distribution", "linear"] = "embeddings"
    """How the sparse view becomes a vector: its weights mix the embeddings of its tokens, which get no gradient from
    it; the softmax of its logits mixes them (as in LexMAE); or its weights go through a matrix that is learnt. Each is
    normed, so that only the proportions of the weights count."""
    encoder_weight: float = 1.0
    """Weight of the encoder's masked language modelling."""
    ae_dense_weight: float = 1.0
    """Weight of auto-encoding from the dense view."""
    ae_sparse_weight: float = 1.0
    """Weight of auto-encoding from the sparse view."""
    ar_dense_weight: float = 1.0
    """Weight of the auto-regressive decoder from the dense view."""
    ar_sparse_weight: float = 1.0
    """Weight of the auto-regressive decoder from the sparse view."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Which embedding is the dense view; by default the one the encoder was trained to make."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("decoder_layers", "window", "top_k")
        self.check_weights(*(f"{term}_weight" for term in ("encoder", *_DECODED)))

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CotMaeV2Module:
        return CotMaeV2Module(self, backbone, tokenizer, bottleneck(self.bottleneck, pooling))


_DECODED = ("ae_dense", "ae_sparse", "ar_dense", "ar_sparse")


class Drawn(NamedTuple):
    """Texts with holes, and their contexts: with more holes, and whole."""

    texts: TokenBatch
    contexts: TokenBatch
    encoder: Masked
    decoder: Masked

    @property
    def next_tokens(self) -> Tensor:
        """What the auto-regressive decoder guesses at each place: the token after it, the last special one, too."""
        labels = torch.where(self.contexts.attention, self.contexts.ids, IGNORED).roll(-1, dims=1)
        labels[:, -1] = IGNORED
        return labels

    def counts(self) -> dict[str, Tensor]:
        filled, told = self.decoder.labels, self.next_tokens
        return tokens_of(encoder=self.encoder.labels, ae_dense=filled, ae_sparse=filled, ar_dense=told, ar_sparse=told)


class CotMaeV2Module(PretrainingModule):
    """The encoder, its head, two decoders, and perhaps a map from the vocabulary to the width."""

    def __init__(self, settings: CotMaeV2, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings = settings
        self.weights = {term: getattr(settings, f"{term}_weight") for term in ("encoder", *_DECODED)}
        self.auto_encoding = Decoder(backbone, settings.decoder_layers)
        self.auto_regressive = Decoder(backbone, settings.decoder_layers)
        if not settings.shared_decoders:
            self.sparse_auto_encoding = Decoder(backbone, settings.decoder_layers)
            self.sparse_auto_regressive = Decoder(backbone, settings.decoder_layers)
        if settings.projection == "linear":
            self.projection = nn.Linear(backbone.config.vocab_size, backbone.width, bias=False)
            begin_as_bert(self.projection, backbone.shape.spread)
        # A mixture of many embeddings is short beside the token vectors it stands among: unnormed it goes unheard.
        self.norm = nn.LayerNorm(backbone.width, backbone.shape.eps)

    def draw(self, batch: TokenBatch) -> Drawn:
        texts, contexts = self.settings.sides(batch)
        holes = self.masked(texts, self.settings.encoder_mask_rate)
        return Drawn(texts, contexts, holes, self.masked(contexts, self.settings.decoder_mask_rate, decoder=True))

    def read(self, drawn: Drawn) -> Reading:
        reading = self.read_masked(drawn.texts, drawn.encoder)
        return reading._replace(views=(*reading.views, self.sparse_view(drawn.texts, reading.hidden)))

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        attention, sums = drawn.contexts.attention, dict[str, Tensor]()
        for view, embedding in zip(("dense", "sparse"), reading.views, strict=True):
            fill, tell = self._decoders(view)
            filled = fill(self.backbone, embedding, drawn.decoder.ids, everything_real(attention))
            told = tell(self.backbone, embedding, drawn.contexts.ids, what_came_before(attention, self.settings.window))
            sums |= self.guess(f"ae_{view}", filled, drawn.decoder.labels)
            sums |= self.guess(f"ar_{view}", told, drawn.next_tokens)
        return sums

    def _decoders(self, view: str) -> tuple[Decoder, Decoder]:
        if view == "dense" or self.settings.shared_decoders:
            return self.auto_encoding, self.auto_regressive
        return self.sparse_auto_encoding, self.sparse_auto_regressive

    def sparse_view(self, texts: TokenBatch, hidden: Tensor) -> Tensor:
        """The sparse view as a vector: batch x width, of hidden states batch x length x width."""
        settings = self.settings
        places = texts.attention if settings.special_places else texts.own_places()
        logits = highest_logits(hidden, places, self.backbone.head())
        is_distribution = settings.projection == "distribution"
        weights = logits.softmax(dim=1) if is_distribution else activated(logits, settings.activation)
        weights = largest(weights, settings.top_k)
        vectors = self.projection(weights) if settings.projection == "linear" else self.backbone.mix(weights)
        normed: Tensor = self.norm(vectors)
        return normed

"""Reconstruct a span from a neighboring one, in the style of CoT-MAE v2 (Wu et al., 2023).

A masked span gives a dense view (its embedding) and a sparse view (for each vocabulary token, the maximum logit over
positions). From each view separately, one decoder predicts the masked tokens of another span of the document
(auto-encoding), and a second one predicts that span token by token from left to right (auto-regressive).

This is not a reproduction of the paper (https://arxiv.org/abs/2304.03158): its code was not released, and its full text
was not available. The implementation follows the abstract and other code that the same group has released
(caskcsg/ir, cotmae-qc). Details that neither of them specifies are settings: the activation of the logits, how the
sparse view enters a decoder (``projection``), how many of its weights are kept, the loss weights, the window of the
auto-regressive decoder, and whether the views share decoders.

The decoder layers are BERT's; cotmae-qc uses GPT-2's (pre-norm instead of post-norm) for the auto-regressive decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.layers.attention_masks import causal_mask, padding_mask
from encloze.models.layers.decoders import Decoder
from encloze.models.layers.initialization import init_bert_weights
from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import Activation, apply_activation, keep_top_k, max_logits
from encloze.models.pretraining_module import EncoderOutput, PretrainingModule, token_counts
from encloze.objectives._context_pairs import ContextBatch, ContextObjective, sample_context_masks
from encloze.objectives.base import resolve_bottleneck
from encloze.text.tokenizer import Tokenizer

_DECODER_TERMS = ("ae_dense", "ae_sparse", "ar_dense", "ar_sparse")


@dataclass(frozen=True)
class CotMaeV2(ContextObjective, name="cotmae_v2"):
    """Reconstruct a span once from the embedding and once from the term weights of a neighboring span.

    Example:
        >>> CotMaeV2(top_k=256, shared_decoders=False).projection
        'embeddings'
    """

    decoder_layers: int = 1
    """Number of layers of each decoder."""
    shared_decoders: bool = True
    """Whether the dense view (embedding) and the sparse view (term weights) share two decoders. If false, each view has
    two decoders of its own."""
    window: int | None = None
    """Number of tokens that each position of the auto-regressive decoder attends to: its own token and those just
    before it. By default, its own and all preceding tokens."""
    activation: Activation = "log1p_relu"
    """Activation that turns logits into term weights: ``log1p_relu`` (SPLADE), ``relu``, or ``raw`` (no activation).
    Not used if ``projection`` is ``distribution``."""
    pool_special_tokens: bool = True
    """Whether pooling of the sparse view (term weights) includes special tokens (as in SPLADE; not in LexMAE)."""
    top_k: int | None = 768
    """How many of the largest term weights of the sparse view are kept; the other weights become 0. null keeps all."""
    projection: Literal["embeddings", "distribution", "linear"] = "embeddings"
    """How the sparse view becomes the vector that a decoder receives. ``embeddings``: sum of token embeddings, weighted
    by term weights. ``distribution``: sum of token embeddings, weighted by the softmax of the logits (LexMAE).
    ``linear``: product of the term weights and a trained matrix. The two sums do not train the token embeddings: their
    gradients reach only the weights. LayerNorm is applied to the vector, so only the proportions of the weights
    matter."""
    encoder_weight: float = 1.0
    """Weight of the encoder's masked language modeling loss."""
    ae_dense_weight: float = 1.0
    """Weight of the loss of the auto-encoding decoder that receives the dense view (embedding)."""
    ae_sparse_weight: float = 1.0
    """Weight of the loss of the auto-encoding decoder that receives the sparse view (term weights)."""
    ar_dense_weight: float = 1.0
    """Weight of the loss of the auto-regressive decoder that receives the dense view (embedding)."""
    ar_sparse_weight: float = 1.0
    """Weight of the loss of the auto-regressive decoder that receives the sparse view (term weights)."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Pooling of the dense view (embedding); the default is the pooling of the model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("decoder_layers", "window", "top_k")
        self.check_non_negative(*(f"{term}_weight" for term in ("encoder", *_DECODER_TERMS)))

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CotMaeV2Module:
        return CotMaeV2Module(self, backbone, tokenizer, resolve_bottleneck(self.bottleneck, pooling))


@dataclass(frozen=True)
class CotMaeV2Batch(ContextBatch):
    """Spans masked for the encoder, and the neighboring span of each, masked for the auto-encoding decoder."""

    def next_tokens(self) -> Tensor:
        """Return the labels of the auto-regressive decoder: for each position, the token that follows it."""
        labels = torch.where(self.contexts.attention_mask, self.contexts.ids, IGNORE_INDEX).roll(-1, dims=1)
        labels[:, -1] = IGNORE_INDEX
        return labels

    def counts(self) -> dict[str, Tensor]:
        ae, ar = self.decoder.labels, self.next_tokens()
        return token_counts(encoder=self.encoder.labels, ae_dense=ae, ae_sparse=ae, ar_dense=ar, ar_sparse=ar)


class CotMaeV2Module(PretrainingModule):
    """Encoder with its MLM head, the decoders (two, or four with the sparse view), and the projection of term weights
    to the hidden size for the decoders of the sparse view."""

    def __init__(self, settings: CotMaeV2, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings = settings
        self.loss_weights = {term: getattr(settings, f"{term}_weight") for term in ("encoder", *_DECODER_TERMS)}
        self.auto_encoding = Decoder(backbone, settings.decoder_layers)
        self.auto_regressive = Decoder(backbone, settings.decoder_layers)
        if not settings.shared_decoders:
            self.sparse_auto_encoding = Decoder(backbone, settings.decoder_layers)
            self.sparse_auto_regressive = Decoder(backbone, settings.decoder_layers)
        if settings.projection == "linear":
            self.projection = nn.Linear(backbone.config.vocab_size, backbone.hidden_size, bias=False)
            init_bert_weights(self.projection, backbone.layer_config.initializer_range)
        # A mixture of many embeddings has a small norm; without LayerNorm it hardly influences the decoders.
        self.norm = nn.LayerNorm(backbone.hidden_size, backbone.layer_config.layer_norm_eps)

    def sample(self, batch: TokenBatch) -> CotMaeV2Batch:
        sampled = sample_context_masks(self, self.settings, batch)
        return CotMaeV2Batch(sampled.texts, sampled.encoder, sampled.contexts, sampled.decoder)

    def encode(self, sampled: CotMaeV2Batch) -> EncoderOutput:
        output = super().encode(sampled)
        return output._replace(bottlenecks=(*output.bottlenecks, self.sparse_view(sampled.texts, output.hidden)))

    def decode(self, sampled: CotMaeV2Batch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        sums, mask, next_tokens = dict[str, Tensor](), sampled.contexts.attention_mask, sampled.next_tokens()
        full, causal = padding_mask(mask), causal_mask(mask, self.settings.window)
        for view, embedding in zip(("dense", "sparse"), encoder_output.bottlenecks, strict=True):
            auto_encoding, auto_regressive = self._decoders(view)
            hidden = auto_encoding(self.backbone, embedding, sampled.decoder.ids, full)
            sums |= self.mlm_loss(f"ae_{view}", hidden, sampled.decoder.labels)
            hidden = auto_regressive(self.backbone, embedding, sampled.contexts.ids, causal)
            sums |= self.mlm_loss(f"ar_{view}", hidden, next_tokens)
        return sums

    def _decoders(self, view: str) -> tuple[Decoder, Decoder]:
        if view == "dense" or self.settings.shared_decoders:
            return self.auto_encoding, self.auto_regressive
        return self.sparse_auto_encoding, self.sparse_auto_regressive

    def sparse_view(self, texts: TokenBatch, hidden: Tensor) -> Tensor:
        """Return the term weights of each text, projected to the vector that decoders receive (batch x hidden size)."""
        settings = self.settings
        positions = texts.attention_mask if settings.pool_special_tokens else texts.content_mask()
        logits = max_logits(hidden, positions, self.backbone.mlm_head())
        is_distribution = settings.projection == "distribution"
        weights = logits.softmax(dim=1) if is_distribution else apply_activation(logits, settings.activation)
        weights = keep_top_k(weights, settings.top_k)
        if settings.projection == "linear":
            vectors = self.projection(weights)
        else:
            vectors = self.backbone.mix_token_embeddings(weights)
        normalized: Tensor = self.norm(vectors)
        return normalized

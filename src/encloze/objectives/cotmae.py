"""CoT-MAE (Wu et al., AAAI 2023, https://arxiv.org/abs/2208.07670): reconstruct a neighboring span.

The encoder reads a masked span. A decoder of two transformer layers receives the span's embedding and another span of
the same document, masked at a higher rate, and predicts the masked tokens of the other span. Query-as-context
(Wu et al., EMNLP 2023) is this objective with ``--objective.context queries``.

The implementation follows the released code (caskcsg/ir, cotmae), not the paper. Differences from the code: its mask
rate does not count special tokens, its spans end at sentence boundaries, and it samples the other span only once; here
the other span is sampled again in each epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.attention_masks import padding_mask
from encloze.models.layers.decoders import Decoder
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import EncoderOutput, PretrainingModule
from encloze.objectives._context_pairs import ContextBatch, ContextObjective, sample_context_masks
from encloze.objectives.base import resolve_bottleneck
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CotMae(ContextObjective, name="cotmae"):
    """Reconstruct a neighboring span of the same document from a span's embedding.

    Example:
        >>> CotMae(decoder_weight=0.5).decoder_layers
        2
    """

    decoder_layers: int = 2
    """Number of decoder layers."""
    decoder_weight: float = 1.0
    """Weight of the decoder's loss term."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Pooling of the embedding that the decoder receives; the default is the pooling of the model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("decoder_layers", "decoder_weight")

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CotMaeModule:
        return CotMaeModule(self, backbone, tokenizer, resolve_bottleneck(self.bottleneck, pooling))


class CotMaeModule(PretrainingModule):
    """Encoder, its head for masked language modeling, and a decoder of standard transformer layers."""

    def __init__(self, settings: CotMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.loss_weights = settings, {"encoder": 1.0, "decoder": settings.decoder_weight}
        self.decoder = Decoder(backbone, settings.decoder_layers)

    def sample(self, batch: TokenBatch) -> ContextBatch:
        return sample_context_masks(self, self.settings, batch)

    def decode(self, sampled: ContextBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        (embedding,) = encoder_output.bottlenecks
        attention_mask = padding_mask(sampled.contexts.attention_mask)
        hidden = self.decoder(self.backbone, embedding, sampled.decoder.ids, attention_mask)
        return self.mlm_loss("decoder", hidden, sampled.decoder.labels)

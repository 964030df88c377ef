"""coCondenser (Gao and Callan, ACL 2022, https://arxiv.org/abs/2108.05540): Condenser with a contrastive loss of spans.

Two masked spans of each document are encoded. The Condenser head predicts the masked tokens, and a contrastive loss
brings the CLS vectors of the two spans closer to each other than to those of other documents. The contrastive loss
compares the whole batch of a step, over all processes and micro-batches (gradient caching), so a large batch needs
little memory.

As in the released code (luyug/Condenser), similarities are dot products without temperature. The code uses all other
spans of the batch as negatives; here spans of the same document are excluded, because a span may occur twice in a
batch. Training starts from a Condenser model: run ``encloze pretrain --objective condenser`` first, then this objective
with ``--model`` set to the folder of the Condenser model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.condenser_head import CondenserHead
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import EncoderOutput, MaskedBatch, token_counts
from encloze.objectives._contrastive import ContrastiveModule, contrastive_counts, pair_embeddings
from encloze.objectives.base import Objective
from encloze.text.contexts.base import Context
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CoCondenser(Objective, name="cocondenser"):
    """Condenser with a contrastive loss between two spans of each document.

    Example:
        >>> CoCondenser(contrastive_weight=0.5).temperature
        1.0
    """

    context: Context = field(default_factory=lambda: Context.from_name("random"))
    """Source of the second text of a pair: a ``random`` (as published), ``near`` or ``overlapping`` span of the same
    document, ``mixed`` (one of these at random), ``crops`` (both texts are crops of one span), or ``queries`` (a query
    that the text answers)."""
    encoder_mask_rate: float = 0.15
    """Fraction of tokens masked in each span."""
    early_layer: int | None = None
    """Encoder layer whose token vectors the Condenser head receives; by default the middle layer."""
    head_layers: int = 2
    """Number of layers of the Condenser head."""
    late_mlm: bool = True
    """Whether the last layer of the encoder also predicts the masked tokens."""
    contrastive_weight: float = 1.0
    """Weight of the contrastive loss term."""
    temperature: float = 1.0
    """Number by which the dot products in the contrastive loss are divided."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate")
        self.check_positive("early_layer", "head_layers", "contrastive_weight", "temperature")

    def pair_source(self) -> Context:
        return self.context

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CoCondenserModule:
        return CoCondenserModule(self, backbone, tokenizer, "cls")


@dataclass(frozen=True)
class CoCondenserBatch(MaskedBatch):
    """Pairs of spans with masked tokens, which the encoder and the Condenser head predict."""

    def counts(self) -> dict[str, Tensor]:
        labels = self.encoder.labels
        return token_counts(encoder=labels, decoder=labels) | contrastive_counts(self.texts)


class CoCondenserModule(ContrastiveModule):
    """Encoder, its head for masked language modeling, and the Condenser head."""

    def __init__(self, settings: CoCondenser, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.temperature, self.normalize = settings, settings.temperature, False
        encoder_weight = float(settings.late_mlm)
        self.loss_weights = {"encoder": encoder_weight, "decoder": 1.0, "contrastive": settings.contrastive_weight}
        self.condenser = CondenserHead(backbone, settings.head_layers, settings.early_layer)

    def sample(self, batch: TokenBatch) -> CoCondenserBatch:
        return CoCondenserBatch(batch, self.mask_tokens(batch, self.settings.encoder_mask_rate))

    def encode(self, sampled: CoCondenserBatch) -> EncoderOutput:
        masked, early_layer = sampled.encoder, self.condenser.early_layer
        last, early = self.backbone.encode_with_layer(masked.ids, sampled.texts.attention_mask, early_layer)
        sums = self.mlm_loss("encoder", last, masked.labels)
        embeddings = pair_embeddings(last[:, 0], sampled.texts.source_ids.chunk(2)[0])
        return EncoderOutput(sums, (last[:, 0],), early, embeddings)

    def decode(self, sampled: CoCondenserBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        (embedding,) = encoder_output.bottlenecks
        hidden = self.condenser(embedding, encoder_output.hidden, sampled.texts.attention_mask)
        return self.mlm_loss("decoder", hidden, sampled.encoder.labels)

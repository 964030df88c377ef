"""Base class of the modules that objectives train: an encoder with masked language modeling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.backbones.hf.forward import enable_activation_checkpointing
from encloze.models.layers.cross_entropy import chunked_cross_entropy, select_labeled
from encloze.models.layers.decoders import DecoderLayer
from encloze.models.layers.masking import IGNORE_INDEX, MaskedTokens, TokenBatch, mask_whole_words
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.trainable import EmbeddingBatch, LossOutput, Trainable
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MaskedBatch:
    """Texts, and the input of the encoder: their tokens, some of them masked. Subclasses add the input of a decoder."""

    texts: TokenBatch
    encoder: MaskedTokens

    def counts(self) -> dict[str, Tensor]:
        """Return the number of tokens or texts over which each loss term and metric is summed, keyed by its name."""
        return token_counts(encoder=self.encoder.labels)


class EncoderOutput(NamedTuple):
    """Result of ``PretrainingModule.encode``: the encoder's losses, and the vectors that the decoders receive."""

    sums: dict[str, Tensor]  # loss terms and metrics, summed over tokens or texts
    bottlenecks: tuple[Tensor, ...]  # vectors that the decoders receive, each batch x hidden size
    hidden: Tensor  # hidden states that the decoders may use, batch x length x hidden size
    embeddings: tuple[EmbeddingBatch, ...] = ()  # inputs of ``global_losses``


class PretrainingModule(Trainable):
    """Encoder with masked language modeling (loss term ``encoder``). Subclasses add decoders and other loss terms.

    ``forward`` runs ``encode`` and then ``decode``. To measure whether the decoders use the bottleneck, monitors call
    ``encode``, exchange the bottlenecks (sentence embeddings) of different texts, and then call ``decode``.
    """

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__()
        self.backbone, self.tokenizer, self.pooling = backbone, tokenizer, pooling

    def forward(self, sampled: Any) -> LossOutput:
        """Return the loss terms and metrics of a batch of masked texts, each summed over its examples."""
        encoder_output = self.encode(sampled)
        return LossOutput(encoder_output.sums | self.decode(sampled, encoder_output), encoder_output.embeddings)

    def encode(self, sampled: Any) -> EncoderOutput:
        """Run the encoder on masked texts; return its loss, hidden states and pooled embedding (the bottleneck)."""
        attention_mask = sampled.texts.attention_mask
        hidden = self.backbone.encode(sampled.encoder.ids, attention_mask)
        sums = self.mlm_loss("encoder", hidden, sampled.encoder.labels)
        return EncoderOutput(sums, (pool(hidden, attention_mask, self.pooling),), hidden)

    def decode(self, sampled: Any, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        """Return the loss terms and metrics of the decoders, summed over examples; an empty dict by default."""
        return {}

    def mlm_loss(self, term: str, hidden: Tensor, labels: Tensor, head: nn.Module | None = None) -> dict[str, Tensor]:
        """Return the cross-entropy summed over the labeled tokens, and the number of tokens predicted correctly.

        ``head`` maps hidden states to logits; the default is the encoder's head for masked language modeling.
        """
        rows, targets = select_labeled(hidden, labels)
        loss, correct = chunked_cross_entropy(rows, targets, head or self.backbone.mlm_head())
        return {term: loss, f"{term}_accuracy": correct}

    def mask_tokens(self, texts: TokenBatch, rate: float, *, decoder: bool = False) -> MaskedTokens:
        """Mask random whole words, in total about the fraction ``rate`` of the tokens; see ``mask_whole_words``."""
        return mask_whole_words(texts, rate, self.mask_id, self.backbone.config.vocab_size, decoder=decoder)

    @property
    def mask_id(self) -> int:
        """Id of the tokenizer's mask token."""
        return self.tokenizer.special_id("mask")

    def decoder_state(self) -> dict[str, Tensor]:
        """Return the parameters of the objective's own layers, which are saved to continue pre-training later."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.backbone.encoder.parameters())

    def enable_gradient_checkpointing(self) -> None:
        """Save memory: recompute the activations of encoder and decoder layers in the backward pass."""
        self.backbone.enable_gradient_checkpointing()
        for module in self.modules():
            if isinstance(module, DecoderLayer):
                enable_activation_checkpointing(module)


def token_counts(**labels: Tensor) -> dict[str, Tensor]:
    """Return the number of labeled tokens of each loss term, under its name and under its name plus ``_accuracy``."""
    counts = {term: (values != IGNORE_INDEX).sum() for term, values in labels.items()}
    return counts | {f"{term}_accuracy": count for term, count in counts.items()}

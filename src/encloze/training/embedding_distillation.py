"""Embedding distillation: a loss term that keeps embeddings close to those of the encoder before the training."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.pretraining_module import EncoderOutput, PretrainingModule
from encloze.models.trainable import EmbeddingBatch

TERM = "embedding_distillation"


class SampledBatch(NamedTuple):
    """Batch of the pre-training objective, with one more count: the number that the distillation term is divided by."""

    inner: Any

    @property
    def texts(self) -> TokenBatch:
        """The texts of the batch, without masked tokens."""
        texts: TokenBatch = self.inner.texts
        return texts

    def counts(self) -> dict[str, Tensor]:
        """Return the divisor of each summed loss term. For embedding distillation, it is the number of texts."""
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        return {**self.inner.counts(), TERM: texts}


class EmbeddingDistillation(PretrainingModule):
    """A pre-training objective with an additional loss term: 1 - cosine(embedding, embedding by the original model).

    Both embeddings are computed from the text without masked tokens. The original model is the encoder before the
    training; a copy of it is kept in memory.

    Args:
        module: Module of the pre-training objective.
        weight: Weight of the additional loss term.
        pooling: Pooling for both embeddings, which is that of the original model; the objective may use another one.
    """

    def __init__(self, module: PretrainingModule, weight: float, pooling: Pooling) -> None:
        nn.Module.__init__(self)
        self.module, self.backbone, self.pooling = module, module.backbone, module.pooling
        self._teacher_pooling: Pooling = pooling
        self.has_global_losses, self.weight = module.has_global_losses, weight
        self.loss_weights = {**module.loss_weights, TERM: weight}
        # A tuple hides the copy from torch: it is neither trained nor saved, and a resumed run copies the same model.
        self._teacher = (copy.deepcopy(module.backbone).eval().requires_grad_(False),)

    def sample(self, batch: TokenBatch) -> SampledBatch:
        return SampledBatch(self.module.sample(batch))

    def encode(self, sampled: SampledBatch) -> EncoderOutput:
        output, texts = self.module.encode(sampled.inner), sampled.texts
        teacher = self._teacher[0].to(texts.ids.device)
        with torch.no_grad():
            target = pool(teacher.encode(texts.ids, texts.attention_mask), texts.attention_mask, self._teacher_pooling)
        embedding = pool(
            self.backbone.encode(texts.ids, texts.attention_mask), texts.attention_mask, self._teacher_pooling
        )
        distance = (1 - F.cosine_similarity(embedding.float(), target.float(), dim=1)).sum()
        return output._replace(sums=output.sums | {TERM: distance})

    def decode(self, sampled: SampledBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        return self.module.decode(sampled.inner, encoder_output)

    def global_losses(self, embeddings: tuple[EmbeddingBatch, ...]) -> dict[str, Tensor]:
        return self.module.global_losses(embeddings)

    def start_step(self, progress: float) -> None:
        self.module.start_step(progress)

    def loss_weights_at(self, progress: float) -> dict[str, float]:
        return {**self.module.loss_weights_at(progress), TERM: self.weight}

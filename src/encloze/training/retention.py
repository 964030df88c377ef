"""Keeping what a model knew: an objective, and a term for how far embeddings move from those it began with."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.trainable import Rows
from encloze.objectives.base import PretrainingModule, Reading


class Drawn(NamedTuple):
    """What the objective drew."""

    inner: Any

    @property
    def texts(self) -> TokenBatch:
        texts: TokenBatch = self.inner.texts
        return texts

    def counts(self) -> dict[str, Tensor]:
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        return {**self.inner.counts(), "distance": texts}


class Retaining(PretrainingModule):
    """An objective's module with one more term, ``distance``: 1 - cosine between a whole text's embedding and the one
    that the model gave before training began."""

    def __init__(self, module: PretrainingModule, weight: float, pooling: Pooling) -> None:
        """``pooling`` is how the model made its embeddings before: these are kept, however the objective pools."""
        nn.Module.__init__(self)
        self.module, self.backbone, self.pooling = module, module.backbone, module.pooling
        self._kept_pooling: Pooling = pooling
        self.compares, self.weight = module.compares, weight
        self.weights = {**module.weights, "distance": weight}
        # In a tuple, so that it is neither trained nor saved: a resumed run begins with the same model.
        self._before = (copy.deepcopy(module.backbone).eval().requires_grad_(False),)

    def draw(self, batch: TokenBatch) -> Drawn:
        return Drawn(self.module.draw(batch))

    def read(self, drawn: Drawn) -> Reading:
        reading, texts = self.module.read(drawn.inner), drawn.texts
        before = self._before[0].to(texts.ids.device)
        with torch.no_grad():
            wanted = pool(before.encode(texts.ids, texts.attention), texts.attention, self._kept_pooling)
        found = pool(self.backbone.encode(texts.ids, texts.attention), texts.attention, self._kept_pooling)
        distance = (1 - F.cosine_similarity(found.float(), wanted.float(), dim=1)).sum()
        return reading._replace(sums=reading.sums | {"distance": distance})

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        return self.module.rebuild(drawn.inner, reading)

    def compare(self, compared: tuple[Rows, ...]) -> dict[str, Tensor]:
        return self.module.compare(compared)

    def weights_at(self, done: float) -> dict[str, float]:
        return {**self.module.weights_at(done), "distance": self.weight}

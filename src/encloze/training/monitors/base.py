"""A monitor: what is looked at, now and then, while a pre-training runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.family import Family
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.precision import Precision, autocast
from encloze.objectives.base import PretrainingModule
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import pad
from encloze.training.plan import BatchPlan

_ROWS = 64


class Material(NamedTuple):
    """What there is to look with."""

    held_out: np.ndarray  # int64: numbers of the examples that nothing is learnt from
    learnt: np.ndarray  # int64: numbers of the others
    lengths: np.ndarray  # int64: tokens of each example as the plan counts them
    make_batch: Callable[[np.ndarray, int, torch.device], TokenBatch]
    spans: Spans
    corpus: Corpus
    format: Format
    tokenizer: Tokenizer
    max_tokens: int
    batch_tokens: int
    precision: Precision
    seed: int

    def batches(self) -> list[np.ndarray]:
        """The held-out examples in batches, always the same."""
        plan = BatchPlan(self.lengths[self.held_out], self.seed, self.batch_tokens)
        return [self.held_out[batch] for batch in plan.epoch(0)]


Probe = Callable[[PretrainingModule], dict[str, float]]
"""What a monitor does at each look: figures by name, of the module as it is."""


@dataclass(frozen=True)
class Monitor(Family):
    """Something to look at while a model is pre-trained; at the beginning, now and then, and at the end."""

    better: ClassVar[dict[str, Literal["higher", "lower"]]] = {}
    """Which way its figures get better, by their names; * stands for all others. Any other is only looked at."""

    def probe(self, material: Material) -> Probe:
        """What is done at each look. Raises EnclozeError where the material is not enough."""
        raise NotImplementedError(type(self).__name__)


@contextlib.contextmanager
def at_rest(module: PretrainingModule, precision: Precision) -> Iterator[torch.device]:
    """Without dropout or gradients, and then as it was; gives the module's device."""
    place, was = next(module.parameters()).device, module.training
    module.eval()
    with torch.no_grad(), autocast(precision, place):
        yield place
    module.train(was)


def embeddings(
    module: PretrainingModule, texts: list[Encoded], material: Material, most: int, pooling: Pooling | None = None
) -> Tensor:
    """The embeddings of texts, cut to ``most`` tokens: texts x width, float32, with gradients where wanted.

    They are pooled as the objective does, unless ``pooling`` says other.
    """
    order = np.argsort([len(text.ids) for text in texts], kind="stable")
    place = next(module.parameters()).device
    found = []
    for start in range(0, len(order), _ROWS):
        padded = pad([texts[number] for number in order[start : start + _ROWS]], material.tokenizer, most)
        ids, attention = (torch.from_numpy(array).to(place) for array in (padded.ids, padded.attention))
        found.append(pool(module.backbone.encode(ids, attention), attention, pooling or module.pooling).float())
    back = torch.from_numpy(np.argsort(order)).to(place)
    return torch.cat(found)[back]

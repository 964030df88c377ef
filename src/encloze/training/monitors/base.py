"""Base class of monitors: metrics that are computed at regular intervals during pre-training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.family import Family
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.precision import Precision, autocast
from encloze.models.pretraining_module import PretrainingModule
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import pad_texts
from encloze.training.batch_plan import LengthGroupedPlan

_BATCH_SIZE = 64

Direction = Literal["higher", "lower"]
"""Whether higher or lower values of a metric are better."""

Metrics = Callable[[PretrainingModule], dict[str, float]]
"""Function that computes a monitor's metrics, by name, of a module in its current state."""


class PretrainingData(NamedTuple):
    """Training and held-out texts of a pre-training, with the tokenizer and the function that creates batches."""

    held_out: np.ndarray
    """Indices of the spans that are held out from training, int64 ``(held_out,)``."""
    training: np.ndarray
    """Indices of the spans that are trained on, int64 ``(training,)``."""
    lengths: np.ndarray
    """Number of tokens of each span, int64 ``(spans,)``; used to form batches of similar length."""
    make_batch: Callable[[np.ndarray, int, torch.device], TokenBatch]
    """Function that takes indices of spans, an epoch and a device, and returns a batch."""
    spans: Spans
    corpus: Corpus
    format: Format
    tokenizer: Tokenizer
    max_tokens: int
    batch_tokens: int
    precision: Precision
    seed: int

    def held_out_batches(self) -> list[np.ndarray]:
        """Return the held-out spans in batches, as arrays of span indices. Every call returns the same batches."""
        plan = LengthGroupedPlan(self.lengths[self.held_out], self.seed, self.batch_tokens)
        return [self.held_out[batch] for batch in plan.epoch(0)]


@dataclass(frozen=True)
class Monitor(Family):
    """Base class of monitors, which compute metrics of the model during training and write them to the log.

    A monitor runs before the first step, at regular intervals, and after the last step.

    Example:
        >>> class TokenCount(Monitor, name="token_count"):
        ...     def build(self, data):
        ...         return lambda module: {"vocabulary": float(module.backbone.config.vocab_size)}
    """

    def directions(self, module: PretrainingModule) -> dict[str, Direction]:
        """Return the metrics that can select the best model, and whether higher or lower values of each are better.

        Args:
            module: The trained module. Some monitors have a metric for each loss term of the module.
        """
        return {}

    def build(self, data: PretrainingData) -> Metrics:
        """Prepare the monitor for a pre-training run.

        Args:
            data: Held-out and training texts.

        Returns:
            The function that computes the metrics of a module. It must leave the module unchanged.

        Raises:
            DataError: There are too few texts for the monitor, or they lack data that it needs, such as titles.
        """
        raise NotImplementedError(type(self).__name__)


@contextlib.contextmanager
def eval_mode(module: PretrainingModule, precision: Precision) -> Iterator[torch.device]:
    """Disable dropout and gradients while the block runs; yield the device of the module."""
    device, was_training = next(module.parameters()).device, module.training
    module.eval()
    with torch.no_grad(), autocast(precision, device):
        yield device
    module.train(was_training)


def embed(
    module: PretrainingModule,
    texts: list[Encoded],
    data: PretrainingData,
    max_tokens: int,
    pooling: Pooling | None = None,
) -> Tensor:
    """Return the embeddings of texts, float32 ``(texts, dim)``; differentiable unless gradients are disabled.

    Args:
        module: The module whose encoder is used.
        texts: Tokenized texts.
        data: Data of the pre-training, whose tokenizer is used.
        max_tokens: Texts are truncated to this number of tokens.
        pooling: Pooling of the token embeddings; by default that of the module.
    """
    order = np.argsort([len(text.ids) for text in texts], kind="stable")
    device = next(module.parameters()).device
    embeddings = []
    for start in range(0, len(order), _BATCH_SIZE):
        batch = [texts[index] for index in order[start : start + _BATCH_SIZE]]
        padded = pad_texts(batch, data.tokenizer, max_tokens)
        ids, attention = (torch.from_numpy(array).to(device) for array in (padded.ids, padded.attention_mask))
        hidden = module.backbone.encode(ids, attention)
        embeddings.append(pool(hidden, attention, pooling or module.pooling).float())
    original_order = torch.from_numpy(np.argsort(order)).to(device)
    return torch.cat(embeddings)[original_order]

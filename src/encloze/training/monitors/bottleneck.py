"""Monitor of the embedding bottleneck: whether the decoder's loss depends on the embedding of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from encloze.evaluation.significance import bootstrap
from encloze.models.pretraining_module import EncoderOutput, PretrainingModule
from encloze.training.monitors.base import Metrics, Monitor, PretrainingData, eval_mode

_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Bottleneck(Monitor, name="bottleneck"):
    """Increase of each decoder's loss if the embedding of a text is replaced by the embedding of an unrelated text.

    The increase is called ``gap``. If the gap is 0, the decoder does not use the embedding. All values are means over
    texts, and the 99 % confidence interval of the gap is computed by a bootstrap over the texts. The unrelated text is
    from another source document.
    """

    texts: int = 256
    """Maximum number of held-out texts that are used."""

    def __post_init__(self) -> None:
        if self.texts < 2:
            raise ValueError(f"texts must be 2 or more, not {self.texts}")

    def build(self, data: PretrainingData) -> Metrics:
        indices = data.held_out[: self.texts]

        def compute(module: PretrainingModule) -> dict[str, float]:
            metrics: dict[str, float] = {}
            for term, (own, shuffled) in _decoder_losses(module, data, indices).items():
                gap = bootstrap(shuffled - own, confidence=_CONFIDENCE, seed=data.seed)
                metrics |= {f"{term}_own": float(own.mean()), f"{term}_shuffled": float(shuffled.mean())}
                metrics |= {f"{term}_gap": gap.mean, f"{term}_gap_low": gap.low, f"{term}_gap_high": gap.high}
            return metrics

        return compute


def pair_across_sources(indices: np.ndarray, sources: np.ndarray) -> list[tuple[int, int]]:
    """Pair each text with the nearest preceding text of another source document.

    The order is circular: the last text precedes the first one. Texts of the same source document are paired only if
    there is no other source document, because the embedding of a text also contains information on
    the other texts of its document.

    Args:
        indices: Indices of texts, int64 ``(held_out,)``.
        sources: Index of the source document of each text, int64 ``(texts,)``.

    Returns:
        Pairs of indices, in the order of ``indices``.

    Example:
        >>> pair_across_sources(np.array([0, 1, 2]), np.array([5, 5, 6]))
        [(0, 2), (1, 2), (2, 1)]
    """
    pairs = []
    for position, index in enumerate(indices.tolist()):
        preceding = np.roll(indices, -position)[:0:-1]  # nearest first
        other_source = preceding[sources[preceding] != sources[index]]
        pairs.append((index, int((other_source if len(other_source) else preceding)[0])))
    return pairs


def _decoder_losses(
    module: PretrainingModule, data: PretrainingData, indices: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each decoder's losses on the texts: with the text's own embedding, and with that of another text."""
    losses: dict[str, tuple[list[float], list[float]]] = {}
    with eval_mode(module, data.precision) as device:

        def encode(index: int) -> tuple[Any, EncoderOutput]:
            sampled = module.sample(data.make_batch(np.array([index]), 0, device))
            return sampled, module.encode(sampled)

        bottlenecks = dict[int, tuple[Tensor, ...]]()
        for index, other in pair_across_sources(indices, data.spans.source_numbers):
            sampled, output = encode(index)
            bottlenecks[index] = output.bottlenecks
            counts = sampled.counts()
            own = module.decode(sampled, output)
            replacement = bottlenecks[other] if other in bottlenecks else encode(other)[1].bottlenecks
            shuffled = module.decode(sampled, output._replace(bottlenecks=replacement))
            for term in own.keys() & module.loss_weights.keys():
                for values, sums in zip(losses.setdefault(term, ([], [])), (own, shuffled), strict=True):
                    values.append(float(sums[term]) / max(1.0, float(counts[term])))
    return {term: (np.array(own), np.array(shuffled)) for term, (own, shuffled) in sorted(losses.items())}

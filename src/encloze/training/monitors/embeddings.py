"""Monitor of embedding collapse: effective rank and mean cosine similarity of held-out embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from encloze import progress
from encloze.evaluation.geometry import effective_rank, mean_cosine
from encloze.models.pretraining_module import PretrainingModule
from encloze.training.monitors.base import Direction, Metrics, Monitor, PretrainingData, embed, eval_mode

_COLLAPSED_RANK = 2.0  # below it, all embeddings lie on a line


@dataclass(frozen=True)
class Embeddings(Monitor, name="embeddings"):
    """Effective rank (Roy and Vetterli, 2007) and mean pairwise cosine similarity of the embeddings of held-out texts.

    Warns if the effective rank falls below 2.
    """

    def directions(self, module: PretrainingModule) -> dict[str, Direction]:
        return {"effective_rank": "higher", "mean_cosine": "lower"}

    def build(self, data: PretrainingData) -> Metrics:
        texts = [data.spans[int(index)] for index in data.held_out]

        def compute(module: PretrainingModule) -> dict[str, float]:
            with eval_mode(module, data.precision):
                embeddings = embed(module, texts, data, data.max_tokens).cpu().numpy()
            rank, cosine = effective_rank(embeddings), mean_cosine(embeddings)
            if rank < _COLLAPSED_RANK:
                progress.warn(
                    f"the embeddings have collapsed: their effective rank is {rank:.2f} of {embeddings.shape[1]}, and "
                    f"the mean cosine similarity of two texts is {cosine:.3f}. Lower the learning rate, or change the "
                    "pooling"
                )
            return {"effective_rank": rank, "mean_cosine": cosine}

        return compute

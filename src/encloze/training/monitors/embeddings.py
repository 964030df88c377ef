"""Whether the embeddings keep texts apart: their effective rank and how alike two texts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from encloze import progress
from encloze.evaluation.geometry import effective_rank, mean_cosine
from encloze.objectives.base import PretrainingModule
from encloze.training.monitors.base import Material, Monitor, Probe, at_rest, embeddings

_COLLAPSED = 2.0  # an effective rank below it: all texts lie on a line


@dataclass(frozen=True)
class Embeddings(Monitor, name="embeddings"):
    """The effective rank of held-out embeddings (Roy and Vetterli, 2007), and the mean cosine of two texts."""

    better: ClassVar[dict[str, Literal["higher", "lower"]]] = {"rank": "higher", "cosine": "lower"}

    def probe(self, material: Material) -> Probe:
        texts = [material.spans[int(number)] for number in material.held_out]

        def look(module: PretrainingModule) -> dict[str, float]:
            with at_rest(module, material.precision):
                found = embeddings(module, texts, material, material.max_tokens).cpu().numpy()
            rank, cosine = effective_rank(found), mean_cosine(found)
            if rank < _COLLAPSED:
                progress.warn(
                    f"the embeddings have collapsed: their effective rank is {rank:.2f} of {found.shape[1]} "
                    f"(mean cosine of two texts {cosine:.3f}). A lower learning rate or another pooling may help"
                )
            return {"rank": rank, "cosine": cosine}

        return look

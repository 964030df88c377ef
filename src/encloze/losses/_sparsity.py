"""Base class of the regularizers that make term weights sparse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from encloze.losses.base import Loss, ScoredBatch, SparsityTarget, Texts


@dataclass(frozen=True)
class SparsityRegularizer(Loss):
    """Base class of losses that make the term weights of queries or of documents sparse."""

    side: Texts = "documents"
    """Texts whose term weights are regularized: queries or documents. To regularize both, list the loss twice."""
    ramp_ratio: float = 0.33
    """Fraction of the training steps in which the regularization weight grows quadratically from 0 to ``weight``, as in
    SPLADE's code. If ``target_active_dims`` is set, the weight does not follow this ramp. Instead, in these steps, the
    target number of active dimensions changes geometrically from the number measured in the first step to
    ``target_active_dims``."""
    target_active_dims: int | None = None
    """Target mean number of active dimensions (term weights above 0) per text. If set, a controller adapts the
    regularization weight at each step, starting from ``weight``. After training, a bias added to all logits of the
    sparse head corrects the remaining difference from the target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ramp_ratio <= 1:
            raise ValueError(f"ramp_ratio must be between 0 and 1, not {self.ramp_ratio}")
        if self.target_active_dims is not None and self.target_active_dims < 1:
            raise ValueError(f"target_active_dims must be 1 or more, not {self.target_active_dims}")

    @property
    def term(self) -> str:
        return f"{self.name}_{self.side}"

    def check_views(self, views: Mapping[str, int | None]) -> None:
        if "sparse" not in views:
            raise ValueError(f"{self.name} requires a sparse head: add sparse to heads, or remove {self.name}")

    def term_weights(self, batch: ScoredBatch) -> Tensor:
        """Return the term weights of the texts to regularize, before top-k pruning (float32, texts x vocabulary)."""
        weights: Tensor = batch.unpruned[self.side].sparse
        return weights

    @property
    def regularized_side(self) -> Texts:
        return self.side

    @property
    def sparsity_target(self) -> SparsityTarget | None:
        if self.target_active_dims is None:
            return None
        return SparsityTarget(self.side, self.target_active_dims, self.ramp_ratio)

    def weight_at(self, progress: float) -> float:
        if self.sparsity_target or not self.ramp_ratio:
            return self.weight
        return self.weight * min(1.0, progress / self.ramp_ratio) ** 2

    def active_dims(self, batch: ScoredBatch) -> float:
        """Return the mean number of term weights above 0 per text, at least 0.5 so that its logarithm is finite."""
        return max(float((self.term_weights(batch) > 0).sum(dim=1).float().mean()), 0.5)

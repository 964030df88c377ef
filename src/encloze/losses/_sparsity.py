"""What losses that make term weights few share: whose weights, how the loss sets in, and how many should be left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from encloze.losses.base import Aim, Loss, Scored, Wanted


@dataclass(frozen=True)
class Sparsity(Loss):
    """A price on term weights."""

    side: Literal["queries", "documents"] = "documents"
    """Whose weights; name the loss twice, once for each, with weights of their own."""
    ramp_share: float = 0.33
    """In this share of the steps the loss's weight rises from 0, as a square (SPLADE's code does so); or, with
    active_terms, their number falls to what is wanted, by the same factor in each step."""
    active_terms: int | None = None
    """So many weights above 0 a text should have on average: the loss's weight is moved step by step to make it so, and
    at the end a shift of all logits does the rest. ``weight`` is then only where it begins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ramp_share <= 1:
            raise ValueError(f"ramp_share must lie between 0 and 1, not {self.ramp_share}")
        if self.active_terms is not None and self.active_terms < 1:
            raise ValueError(f"active_terms must be 1 or more, not {self.active_terms}")

    @property
    def term(self) -> str:
        return f"{self.name}_{self.side}"

    def check(self, views: Mapping[str, int | None]) -> None:
        if "sparse" not in views:
            raise ValueError(f"{self.name} puts a price on term weights: add sparse to heads, or leave {self.name} out")

    def weights(self, scored: Scored) -> Tensor:
        """The term weights: float32, texts x vocabulary."""
        view: Tensor = scored.uncut[self.side].sparse
        return view

    @property
    def priced(self) -> Literal["queries", "documents"]:
        return self.side

    @property
    def wanted(self) -> Wanted | None:
        return None if self.active_terms is None else Wanted(self.side, self.active_terms)

    def weight_at(self, done: float) -> float:
        if self.wanted or not self.ramp_share:
            return self.weight
        return self.weight * min(1.0, done / self.ramp_share) ** 2

    def aim(self, scored: Scored) -> Aim | None:
        if self.active_terms is None:
            return None
        active = float((self.weights(scored) > 0).sum(dim=1).float().mean())
        return Aim(max(active, 0.5), float(self.active_terms), self.ramp_share)

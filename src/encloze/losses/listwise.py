"""The listwise softmax loss (ListNet's top-one form, Cao et al., ICML 2007) over a query's own candidates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.losses.base import CandidateLoss, Candidates


@dataclass(frozen=True)
class Listwise(CandidateLoss, name="listwise"):
    """The cross-entropy of the relevant document among its query's candidates."""

    def sum_candidates(self, candidates: Candidates) -> Tensor:
        scores = candidates.scores.masked_fill(~candidates.there, float("-inf"))
        return (scores.logsumexp(dim=1) - scores[:, 0]).sum()

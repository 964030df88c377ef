"""Listwise softmax loss (top-one ListNet, Cao et al., ICML 2007) over a query's own candidates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.losses.base import CandidateLoss, CandidateScores


@dataclass(frozen=True)
class Listwise(CandidateLoss, name="listwise"):
    """Cross-entropy of the relevant document in the softmax over a query's relevant document and hard negatives.

    Example:
        >>> Listwise().needs_negatives
        True
    """

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        scores = candidates.scores.masked_fill(~candidates.candidate_mask, float("-inf"))
        return (scores.logsumexp(dim=1) - scores[:, 0]).sum()

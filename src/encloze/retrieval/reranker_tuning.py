"""Tuning of the weight of a re-ranker on judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from encloze import progress
from encloze.data.records import Judgments, Run
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import compute_measures
from encloze.intervals import Interval
from encloze.retrieval.reranking import rerank

MAX_TUNING_QUERIES = 200
"""Maximum number of queries on which the weight of a re-ranker is tuned, because re-ranking them is slow."""
_WEIGHTS = tuple(round(step / 20, 2) for step in range(21))
_TIE = 1e-6


class RerankerTuning(NamedTuple):
    """Weight of a re-ranker that was tuned on judged queries."""

    weight: float
    """Weight of the re-ranker's scores, from 0 to 1."""
    gain: Interval
    """nDCG@10 of the re-ranked run minus that of the run before re-ranking, with the 95 % confidence interval."""


def tune_reranker(run: Run, scored: Run, judgments: Judgments) -> RerankerTuning:
    """Return the weight of a re-ranker with the highest nDCG@10 among 21 weights from 0 to 1.

    Of equally good weights, the one nearest to one half is returned.

    Args:
        run: The run to re-rank, over judged queries.
        scored: The re-ranker's scores, as ``score_top`` returns them.
        judgments: Grades of these queries.
    """
    values = {
        weight: compute_measures(rerank(run, scored, weight), judgments, ["nDCG@10"])["nDCG@10"]
        for weight in progress.track(_WEIGHTS, "Tuning the weight of the re-ranker", len(_WEIGHTS), "weights")
    }
    best = max(float(of_weight.mean()) for of_weight in values.values())
    tied: Sequence[float] = [weight for weight in _WEIGHTS if values[weight].mean() > best - _TIE]
    weight = min(tied, key=lambda weight: abs(weight - 0.5))
    return RerankerTuning(weight, estimate([values[weight]], [values[0.0]]).interval())

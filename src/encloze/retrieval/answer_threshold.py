"""Decision whether a collection answers a query, from the highest scores that its indexes give to documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from encloze.retrieval.candidates import CandidatePool

COMPARED = 10
"""Number of best documents of each index that the features depend on."""


@dataclass(frozen=True)
class AnswerThreshold:
    """A logistic function of the scores of the best documents, and the probability from which a query is answered.

    Fused scores are normalized within each query, so they do not show whether a query is answered. This uses two
    features for each index: its highest score, and the lead of this score over the mean of the next nine.

    Example:
        >>> threshold = AnswerThreshold(("flat",), (8.0, 0.0), -4.0, 0.5)
        >>> threshold.probabilities(np.array([[0.5, 0.1], [0.9, 0.1]])).round(2)
        array([0.5 , 0.96])
    """

    views: tuple[str, ...]
    """Names of the indexes whose scores are used."""
    weights: tuple[float, ...]
    """Weights of the features, two for each index."""
    intercept: float
    """Constant term of the logistic function."""
    threshold: float
    """Lowest probability at which a query counts as answered."""

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return the probability that each query is answered: float64, (queries,).

        Args:
            features: The features of each query: (queries, two for each index).
        """
        logits = features @ np.array(self.weights) + self.intercept
        probabilities: np.ndarray = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        return probabilities

    def to_dict(self) -> dict[str, Any]:
        """Return the threshold as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Return the threshold that ``to_dict`` described. Raises ValueError for anything else."""
        if not isinstance(values, Mapping) or set(values) != {"views", "weights", "intercept", "threshold"}:
            raise ValueError("an answer threshold needs views, weights, intercept and threshold")
        views, weights = values["views"], values["weights"]
        if not isinstance(views, list) or not all(isinstance(view, str) for view in views):
            raise ValueError("the views of an answer threshold must be names of indexes")
        if not isinstance(weights, list) or len(weights) != 2 * len(views):
            raise ValueError("an answer threshold needs two weights for each view")
        numbers = [*weights, values["intercept"], values["threshold"]]
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
            raise ValueError("the weights of an answer threshold must be numbers")
        return cls(tuple(views), tuple(weights), values["intercept"], values["threshold"])


def answer_features(
    pools: Sequence[CandidatePool], names: Sequence[str], views: Sequence[str], excluded: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Return the features of queries: for each index its highest score, and the lead of this over the next nine.

    Args:
        pools: The candidates of each query. They include at least the ten best documents of each index.
        names: The names of the indexes, in the order of the rows of the pools.
        views: The names of the indexes whose features are returned.
        excluded: For each query, the numbers of documents that are treated as if they were not in the collection. None
            by default.

    Returns:
        float64, (queries, two for each index). An index that finds no document has the features 0.
    """
    rows = [names.index(view) for view in views]
    features = np.zeros((len(pools), len(rows), 2))
    for place, pool in enumerate(pools):
        scores = pool.scores[rows]
        if excluded:
            scores = scores[:, ~np.isin(pool.numbers, excluded[place])]
        best = -np.sort(-scores.astype(np.float64), axis=1)[:, :COMPARED]
        if best.shape[1]:
            features[place, :, 0] = best[:, 0]
        if best.shape[1] > 1:
            features[place, :, 1] = best[:, 0] - best[:, 1:].mean(axis=1)
    return features.reshape(len(pools), -1)

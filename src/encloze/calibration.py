"""From scores to probabilities: fitted on judged pairs, applied to new scores, and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from encloze.errors import importable

Method = Literal["isotonic", "platt"]
_BINS = 15  # as in Guo et al., 2017


@dataclass(frozen=True)
class Calibration:
    """A rising curve from scores to probabilities of being relevant, through some points; level outside of them."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The probability of each score: float64, 0 to 1."""
        probabilities: np.ndarray = np.interp(np.asarray(scores, float), self.scores, self.probabilities)
        return probabilities

    @classmethod
    def fit(cls, scores: np.ndarray, relevant: np.ndarray, method: Method) -> Calibration:
        """Fit on pairs (scores: float, pairs; relevant: bool, pairs). Needs scikit-learn.

        ``isotonic`` (Zadrozny and Elkan, KDD 2002) is any rising curve; ``platt`` (Platt, 1999) a logistic one, with
        his targets a little inside 0 and 1, for few judgments. Raises ValueError where all or no pairs are relevant.
        """
        if relevant.all() or not relevant.any():
            raise ValueError(f"{'all' if relevant.all() else 'none'} of the {len(relevant)} pairs are relevant")
        return {"isotonic": cls._isotonic, "platt": cls._platt}[method](np.asarray(scores, float), relevant)

    @classmethod
    def _isotonic(cls, scores: np.ndarray, relevant: np.ndarray) -> Calibration:
        regression: Any = importable("sklearn.isotonic", "train").IsotonicRegression()
        regression.fit(scores, relevant.astype(float))
        return cls(tuple(regression.X_thresholds_.tolist()), tuple(regression.y_thresholds_.tolist()))

    @classmethod
    def _platt(cls, scores: np.ndarray, relevant: np.ndarray) -> Calibration:
        positive, negative = int(relevant.sum()), int((~relevant).sum())
        target = np.where(relevant, (positive + 1) / (positive + 2), 1 / (negative + 2))
        logistic: Any = importable("sklearn.linear_model", "train").LogisticRegression(C=1e6, max_iter=1000)
        # A target between 0 and 1 is the pair twice: as a relevant one with that weight, and as none with the rest.
        both = np.concatenate([scores, scores])[:, None]
        logistic.fit(both, np.repeat([1, 0], len(scores)), np.concatenate([target, 1 - target]))
        slope, level = float(logistic.coef_[0, 0]), float(logistic.intercept_[0])
        if slope <= 0:  # scores that say nothing, or the contrary: one probability for all
            slope, level = 0.0, float(np.log(target.mean() / (1 - target.mean())))
        at = np.unique(np.quantile(scores, np.linspace(0, 1, 201)))  # the curve through so many points
        return cls(tuple(at.tolist()), tuple((1 / (1 + np.exp(-(slope * at + level)))).tolist()))


def calibration_error(probabilities: np.ndarray, relevant: np.ndarray) -> float:
    """The expected calibration error: the gap of mean probability and share of relevant pairs, in bins of equal width.

    Bins are weighted by their pairs (Naeini et al., AAAI 2015; 15 bins as in Guo et al., ICML 2017).
    """
    bins = np.minimum((np.asarray(probabilities) * _BINS).astype(int), _BINS - 1)
    sums = (np.bincount(bins, weights, minlength=_BINS) for weights in (probabilities, np.asarray(relevant, float)))
    said, found = sums
    return float(np.abs(said - found).sum() / len(bins))


def brier(probabilities: np.ndarray, relevant: np.ndarray) -> float:
    """The mean squared distance of probabilities from 1 and 0 (Brier, 1950)."""
    return float(np.mean((np.asarray(probabilities) - np.asarray(relevant, float)) ** 2))

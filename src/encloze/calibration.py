"""Calibration: map relevance scores to probabilities, and measure how accurate probabilities are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from encloze.errors import importable

Method = Literal["isotonic", "platt"]
_BINS = 15  # as in Guo et al., 2017
_PLATT_POINTS = 201


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing, piecewise linear function from scores to probabilities of relevance.

    The function is constant below the lowest and above the highest score.

    Args:
        scores: Scores in increasing order.
        probabilities: The probability at each score, from 0 to 1.

    Example:
        >>> calibration = Calibration((-1.0, 1.0), (0.0, 1.0))
        >>> calibration(np.array([0.0, 5.0]))
        array([0.5, 1. ])
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return the probability of each score: float64, in the shape of ``scores``."""
        probabilities: np.ndarray = np.interp(np.asarray(scores, float), self.scores, self.probabilities)
        return probabilities

    @classmethod
    def from_dict(cls, values: Any) -> Calibration:
        """Return a calibration from its fields as JSON values, as ``dataclasses.asdict`` returns them.

        Raises:
            ValueError: ``values`` is not a mapping, or lacks a field, or has another one.

        Example:
            >>> Calibration.from_dict({"scores": [-1.0, 1.0], "probabilities": [0.0, 1.0]})
            Calibration(scores=(-1.0, 1.0), probabilities=(0.0, 1.0))
        """
        try:
            return cls(**{name: tuple(points) for name, points in values.items()})
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def fit(cls, scores: np.ndarray, relevant: np.ndarray, method: Method) -> Calibration:
        """Fit a calibration on judged pairs of queries and documents. Needs scikit-learn.

        Args:
            scores: The score of each pair, float.
            relevant: Whether each pair is relevant, bool.
            method: ``isotonic`` fits any non-decreasing function (Zadrozny and Elkan, KDD 2002). ``platt`` fits a
                logistic function (Platt, 1999); the probabilities that it is fitted to are slightly above 0 for pairs
                that are not relevant, and slightly below 1 for relevant pairs. It is suited to few judgments.

        Returns:
            The calibration.

        Raises:
            ValueError: If all pairs are relevant, or no pair is.
            MissingExtraError: If scikit-learn is not installed.

        Example:
            >>> Calibration.fit(np.array([0.1, 0.9]), np.array([False, True]), "isotonic")
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
        # A target t between 0 and 1 is expressed by two samples: a positive with weight t, a negative with 1 - t.
        features = np.concatenate([scores, scores])[:, None]
        logistic.fit(features, np.repeat([1, 0], len(scores)), np.concatenate([target, 1 - target]))
        coefficient, intercept = float(logistic.coef_[0, 0]), float(logistic.intercept_[0])
        if coefficient <= 0:  # scores without information, or inverted: the same probability for all
            coefficient, intercept = 0.0, float(np.log(target.mean() / (1 - target.mean())))
        points = np.unique(np.quantile(scores, np.linspace(0, 1, _PLATT_POINTS)))
        probabilities = 1 / (1 + np.exp(-(coefficient * points + intercept)))
        return cls(tuple(points.tolist()), tuple(probabilities.tolist()))


def calibration_error(probabilities: np.ndarray, relevant: np.ndarray) -> float:
    """Return the expected calibration error (Naeini et al., AAAI 2015), with 15 bins as in Guo et al., ICML 2017.

    The pairs of a query and a document are grouped by probability into bins of equal width. The error of a bin is the
    absolute difference between the mean probability and the fraction of relevant pairs in the bin. The result is the
    mean of these errors, weighted by the number of pairs in each bin.

    Args:
        probabilities: The probability of each pair, from 0 to 1.
        relevant: Whether each pair is relevant, bool.

    Returns:
        A number from 0 (perfect) to 1.

    Example:
        >>> calibration_error(np.array([0.0, 1.0]), np.array([False, True]))
        0.0
    """
    bins = np.minimum((np.asarray(probabilities) * _BINS).astype(int), _BINS - 1)
    predicted, observed = (
        np.bincount(bins, weights, minlength=_BINS) for weights in (probabilities, np.asarray(relevant, float))
    )
    return float(np.abs(predicted - observed).sum() / len(bins))


def brier_score(probabilities: np.ndarray, relevant: np.ndarray) -> float:
    """Return the Brier score (Brier, 1950): mean squared difference of probability and relevance (1 or 0) of a pair.

    Args:
        probabilities: The probability of each pair, from 0 to 1.
        relevant: Whether each pair is relevant, bool.

    Returns:
        A number from 0 (perfect) to 1.

    Example:
        >>> brier_score(np.array([0.5, 1.0]), np.array([False, True]))
        0.125
    """
    return float(np.mean((np.asarray(probabilities) - np.asarray(relevant, float)) ** 2))

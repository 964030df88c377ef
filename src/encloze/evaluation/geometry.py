"""Statistics of the geometry of embeddings: anisotropy, rank, uniformity, alignment and hubness.

All functions take embeddings of shape (texts, dim), compute in float64 and are invariant under rotation. Only
``effective_rank``, ``pc1_variance_share``, ``centered_cosine`` and ``norm_variation`` depend on the norms of the
embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_ROWS = 1024  # rows whose cosines with all rows are computed at a time
_COLLAPSED = 1e-6  # deviations from the mean below this fraction of the norm are rounding errors


def mean_cosine(embeddings: np.ndarray) -> float:
    """Compute the mean cosine over all pairs of two embeddings, a measure of anisotropy (Ethayarajh, EMNLP 2019).

    Args:
        embeddings: Array of shape (texts, dim).

    Returns:
        About 0 if the directions are spread evenly, 1 if all are the same; at least -1 / (texts - 1).

    Example:
        >>> mean_cosine(np.eye(3))
        0.0
    """
    unit = l2_normalize(embeddings)
    return float((np.square(unit.sum(axis=0)).sum() - np.square(unit).sum()) / _num_pairs(unit))


def centered_cosine(embeddings: np.ndarray) -> float:
    """Compute the root mean square cosine over all pairs of two embeddings, after subtracting the mean embedding.

    It measures the anisotropy that remains without the direction common to all texts (Mu and Viswanath, ICLR 2018;
    Cai et al., ICLR 2021). The mean cosine of centered embeddings would be about 0 for any embeddings.

    Args:
        embeddings: Array of shape (texts, dim).

    Returns:
        About 1 / sqrt(dim) if all directions have the same variance; 1 if all embeddings are on a line or equal.
    """
    unit = l2_normalize(_center(embeddings))
    if not unit.any():
        return 1.0
    squares = np.square(unit.T @ unit).sum() - np.square(np.square(unit).sum(axis=1)).sum()
    return float(np.sqrt(max(0.0, squares) / _num_pairs(unit)))


def effective_rank(embeddings: np.ndarray) -> float:
    """Compute the exponential of the entropy of the singular values (Roy and Vetterli, EUSIPCO 2007).

    The mean embedding is subtracted first. RankMe (Garrido et al., ICML 2023) is the same without this step.

    Args:
        embeddings: Array of shape (texts, dim).

    Returns:
        Number of dimensions effectively used, from 1 to min(texts - 1, dim).
    """
    values = _singular_values(embeddings)
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def pc1_variance_share(embeddings: np.ndarray) -> float:
    """Compute the share of the variance that is explained by the first principal component.

    Args:
        embeddings: Array of shape (texts, dim).

    Returns:
        From 1 / dim to 1; 1 if all embeddings are equal.
    """
    values = np.square(_singular_values(embeddings))
    return float(values[0] / values.sum()) if len(values) else 1.0


def norm_variation(embeddings: np.ndarray) -> float:
    """Compute the coefficient of variation of the norms: their standard deviation divided by their mean.

    Args:
        embeddings: Array of shape (texts, dim).

    Returns:
        0 if all norms are equal.
    """
    norms = np.linalg.norm(np.asarray(embeddings, float), axis=1)
    return float(norms.std() / norms.mean()) if norms.any() else 0.0


def uniformity(embeddings: np.ndarray) -> float:
    """Compute the log of the mean exp(-2 d²), d being the distance of two L2-normalized embeddings, over all pairs.

    This is the uniformity of Wang and Isola (ICML 2020) with t = 2.

    Args:
        embeddings: Array of shape (texts, dim).

    Returns:
        0 if all directions are the same; about -4 if they are uniform on a sphere of many dimensions. Lower is better.
    """
    unit = l2_normalize(embeddings)
    total = sum(float(np.exp(4 * (cosines - 1)).sum()) for cosines in _cosines(unit))
    return float(np.log(total / _num_pairs(unit)))


def alignment(firsts: np.ndarray, seconds: np.ndarray) -> float:
    """Compute the mean squared distance between the L2-normalized embeddings of positive pairs.

    This is the alignment of Wang and Isola (ICML 2020) with alpha = 2.

    Args:
        firsts: Embeddings of the first texts of the pairs, of shape (pairs, dim).
        seconds: Embeddings of the second texts of the pairs, of shape (pairs, dim).

    Returns:
        0 if the texts of each pair have the same direction, 2 if they are orthogonal, at most 4. Lower is better.
    """
    return float(np.square(l2_normalize(firsts) - l2_normalize(seconds)).sum(axis=1).mean())


def pair_auc(firsts: np.ndarray, seconds: np.ndarray, negatives: np.ndarray) -> float:
    """Compute how often the cosine of a positive pair exceeds that of a negative pair, averaged over first texts.

    This is the mean area under the ROC curve of the first texts. Ties count one half. Unlike alignment, it does not
    improve if all embeddings collapse to one direction.

    Args:
        firsts: Embeddings of the first texts of the positive pairs, of shape (pairs, dim).
        seconds: Embeddings of the second texts of the positive pairs, of shape (pairs, dim).
        negatives: Boolean array of shape (pairs, pairs): whether second text j is a negative for first text i.

    Returns:
        0.5 for random embeddings, 1 if every positive pair has a higher cosine than all negatives of its first text.
    """
    cosines = l2_normalize(firsts) @ l2_normalize(seconds).T
    positive = np.diagonal(cosines)[:, None]
    wins = np.where(np.isclose(cosines, positive, rtol=0, atol=1e-9), 0.5, cosines < positive)
    rows = np.flatnonzero(negatives.any(axis=1))
    return float(np.mean([wins[row][negatives[row]].mean() for row in rows]))


class Hubness(NamedTuple):
    """Statistics of the k-occurrence of texts: how many other texts have the text among their k nearest neighbors."""

    skewness: float
    """Skewness of the k-occurrence: 0 for a symmetric distribution, above about 1.5 if a few texts (hubs) are
    among the nearest neighbors of very many texts."""
    anti_hub_rate: float
    """Share of texts that are not among the k nearest neighbors of any other text (anti-hubs)."""


def hubness(embeddings: np.ndarray, neighbors: int) -> Hubness:
    """Compute how unevenly texts occur among the nearest neighbors of other texts (Radovanovic et al., JMLR 2010).

    The nearest neighbors are those with the highest cosine.

    Args:
        embeddings: Array of shape (texts, dim).
        neighbors: Number k of nearest neighbors of each text, below the number of texts.

    Returns:
        Skewness and anti-hub rate.
    """
    unit, occurrences = l2_normalize(embeddings), np.zeros(len(embeddings), np.int64)
    for cosines in _cosines(unit):
        nearest = np.argpartition(-cosines, neighbors - 1, axis=1)[:, :neighbors]
        occurrences += np.bincount(nearest.ravel(), minlength=len(embeddings))
    deviations = occurrences - occurrences.mean()
    deviation = float(np.sqrt(np.square(deviations).mean()))
    skewness = float((deviations**3).mean()) / deviation**3 if deviation else 0.0
    return Hubness(skewness, float((occurrences == 0).mean()))


def l2_normalize(embeddings: np.ndarray) -> np.ndarray:
    """Return the embeddings scaled to unit norm, in float64. All-zero embeddings are not changed.

    Args:
        embeddings: Array of shape (texts, dim).
    """
    embeddings = np.asarray(embeddings, float)
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(norms > 0, norms, 1.0))


def _center(embeddings: np.ndarray) -> np.ndarray:
    embeddings = np.asarray(embeddings, float)
    centered = embeddings - embeddings.mean(axis=0)
    is_collapsed = np.linalg.norm(centered) <= _COLLAPSED * np.linalg.norm(embeddings)
    return np.zeros_like(embeddings) if is_collapsed else centered


def _singular_values(embeddings: np.ndarray) -> np.ndarray:
    """Return the positive singular values of the centered embeddings."""
    values = np.linalg.svd(_center(embeddings), compute_uv=False)
    return np.asarray(values[values > 0])


def _cosines(unit: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the matrix of all cosines in blocks of rows. The cosine of an embedding with itself is replaced by -inf."""
    for start in range(0, len(unit), _ROWS):
        cosines = unit[start : start + _ROWS] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        yield cosines


def _num_pairs(embeddings: np.ndarray) -> int:
    return max(1, len(embeddings) * (len(embeddings) - 1))

"""How embeddings lie in their space: rows are texts, and everything is worked out in float64.

Nothing here changes when all rows are rotated. The lengths of rows count in ``effective_rank``, ``first_direction``,
``centred_cosine`` and ``length_spread`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_ROWS = 1024  # compared with all others at a time
_ONE_POINT = 1e-6  # differences so small beside the rows are rounding: all rows are the same


def mean_cosine(rows: np.ndarray) -> float:
    """The mean cosine of two different rows: anisotropy as Ethayarajh (EMNLP 2019) measures it.

    0 where rows point everywhere, 1 where all point one way; -1 / (rows - 1) at least.
    """
    unit = l2_normalize(rows)
    return float((np.square(unit.sum(axis=0)).sum() - np.square(unit).sum()) / _pairs(unit))


def centered_cosine(rows: np.ndarray) -> float:
    """The root mean square cosine of two different rows, their mean taken off.

    What is left of anisotropy without the direction that all share (Mu and Viswanath, ICLR 2018; Cai et al., ICLR
    2021). Not the mean, which is about 0 for any rows. About 1 / sqrt(width) where all directions are used alike, 1
    where all rows lie on a line or are one point.
    """
    unit = l2_normalize(_centred(rows))
    if not unit.any():
        return 1.0
    squares = np.square(unit.T @ unit).sum() - np.square(np.square(unit).sum(axis=1)).sum()
    return float(np.sqrt(max(0.0, squares) / _pairs(unit)))


def effective_rank(rows: np.ndarray) -> float:
    """The exponential of the entropy of the singular values, the rows' mean taken off (Roy and Vetterli, EUSIPCO 2007).

    RankMe (Garrido et al., ICML 2023) is the same with the mean left on. How many directions are really used: from 1 to
    the width, or to the rows less one where that is less.
    """
    values = _singular_values(rows)
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def pc1_variance_share(rows: np.ndarray) -> float:
    """The share of the variance in its first principal direction: 1 / width at least, 1 where there is no other."""
    values = np.square(_singular_values(rows))
    return float(values[0] / values.sum()) if len(values) else 1.0


def norm_variation(rows: np.ndarray) -> float:
    """The standard deviation of the rows' lengths beside their mean: 0 where all are as long."""
    lengths = np.linalg.norm(np.asarray(rows, float), axis=1)
    return float(lengths.std() / lengths.mean()) if lengths.any() else 0.0


def uniformity(rows: np.ndarray) -> float:
    """Log of the mean of exp(-2 squared distance) of two different rows of length 1 (Wang and Isola, ICML 2020; t = 2).

    0 where all are one point; near -4 where they lie evenly on a sphere of many dimensions.
    """
    unit = l2_normalize(rows)
    alike = sum(float(np.exp(4 * (cosines - 1)).sum()) for cosines in _cosines(unit))
    return float(np.log(alike / _pairs(unit)))


def alignment(firsts: np.ndarray, seconds: np.ndarray) -> float:
    """The mean squared distance of rows that belong together, at length 1 (Wang and Isola, ICML 2020; alpha = 2).

    0 where each pair is one point, 2 where they are as far apart as strangers that point everywhere, 4 at most.
    """
    return float(np.square(l2_normalize(firsts) - l2_normalize(seconds)).sum(axis=1).mean())


def pair_auc(firsts: np.ndarray, seconds: np.ndarray, strangers: np.ndarray) -> float:
    """How often a first row is nearer to its own second than to one of another pair, by cosine; equal counts half.

    ``strangers`` (bool, pairs x pairs) says which seconds do not belong to a first. 0.5 is chance, 1 always: unlike
    alignment it is no better where all rows are one point. (The mean over firsts of the area under the ROC curve.)
    """
    cosines = l2_normalize(firsts) @ l2_normalize(seconds).T
    own = np.diagonal(cosines)[:, None]
    wins = np.where(np.isclose(cosines, own, rtol=0, atol=1e-9), 0.5, cosines < own)
    compared = strangers.any(axis=1)
    return float(np.mean([wins[row][strangers[row]].mean() for row in np.flatnonzero(compared)]))


class Hubness(NamedTuple):
    """How often rows are among the nearest ones of others."""

    skew: float
    """Of the number of times: 0 where it is spread evenly, above about 1.5 where a few rows are near to very many."""
    never: float
    """The share of rows that are near to none."""


def hubs(rows: np.ndarray, neighbours: int) -> Hubness:
    """The skew of how often a row is among the ``neighbours`` nearest others by cosine (Radovanovic et al., JMLR 2010).

    There must be more rows than neighbours.
    """
    unit, times = l2_normalize(rows), np.zeros(len(rows), np.int64)
    for cosines in _cosines(unit):
        nearest = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]
        times += np.bincount(nearest.ravel(), minlength=len(rows))
    off = times - times.mean()
    spread = float(np.sqrt(np.square(off).mean()))
    return Hubness(float((off**3).mean()) / spread**3 if spread else 0.0, float((times == 0).mean()))


def l2_normalize(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1, in float64; those of zeros stay."""
    rows = np.asarray(rows, float)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))


def _centred(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, float)
    off = rows - rows.mean(axis=0)
    return off if np.linalg.norm(off) > _ONE_POINT * np.linalg.norm(rows) else np.zeros_like(rows)


def _singular_values(rows: np.ndarray) -> np.ndarray:
    """Those above 0 of the rows, their mean taken off."""
    values = np.linalg.svd(_centred(rows), compute_uv=False)
    return np.asarray(values[values > 0])


def _cosines(unit: np.ndarray) -> Iterator[np.ndarray]:
    """The cosines of some rows at a time with all rows; minus infinity of a row with itself."""
    for start in range(0, len(unit), _ROWS):
        cosines = unit[start : start + _ROWS] @ unit.T
        at = np.arange(len(cosines))
        cosines[at, start + at] = -np.inf
        yield cosines


def _pairs(rows: np.ndarray) -> int:
    return max(1, len(rows) * (len(rows) - 1))

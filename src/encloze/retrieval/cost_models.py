"""Predictions of what an index costs, from measurements of small indexes and the way in which each cost grows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encloze.search.indexes.base import Index

Features = Callable[[int], Sequence[float]]
"""Function that returns, for a number of documents, the quantities of which a cost is a weighted sum."""


@dataclass(frozen=True)
class Estimate:
    """A predicted number, and how far the number of documents is from those that were measured."""

    value: float
    factor: float
    """1 within the measured range; beyond it, the number of documents divided by the largest measured one (above 1), or
    below it, by the smallest one (below 1)."""

    @property
    def is_measured(self) -> bool:
        """Whether the number of documents is within the measured range."""
        return self.factor == 1


@dataclass(frozen=True)
class Sample:
    """Measured costs of a small index."""

    documents: int
    build_seconds: float
    disk_bytes: float
    """Size of the files."""
    memory_bytes: float
    """Bytes of the files that searches read."""
    other_bytes: float
    """Other memory of the open index, such as the terms of BM25."""
    build_bytes: float
    """Peak memory of the build."""
    milliseconds: float
    """Median latency of a search, without the encoding of the query."""


@dataclass(frozen=True)
class IndexCosts:
    """Predicted costs of an index of a number of documents."""

    index: str
    """Name of the index and of its storage, such as ``ivf int8``."""
    input_type: str
    """What the index is built from: ``dense``, ``sparse`` or ``text``."""
    build_seconds: Estimate
    disk_bytes: Estimate
    memory_bytes: Estimate
    """Bytes of the files that searches read, and other memory of the open index."""
    build_bytes: Estimate
    milliseconds: Estimate
    """Median latency of a search, without the encoding of the query."""


class Fit:
    """A cost as a function of the number of documents: known bytes plus a weighted sum of features.

    The weights are 0 or more, and minimize the squared relative errors of the measurements.

    Args:
        points: Measured cost for each measured number of documents, at least one.
        features: Quantities of which the cost is a weighted sum, the most important one first. From a single
            measurement, only the weight of the first one is determined.
        known: Part of the cost that need not be fitted.

    Example:
        >>> fit = Fit({10: 120.0, 20: 220.0}, lambda documents: (documents, 1))
        >>> fit.at(40)
        Estimate(value=420.0, factor=2.0)
    """

    def __init__(
        self, points: Mapping[int, float], features: Features, known: Callable[[int], float] = lambda _: 0.0
    ) -> None:
        from scipy.optimize import nnls  # searches do not need it

        self._features, self._known = features, known
        self.low, self.high = min(points), max(points)
        rows = np.array([features(documents) for documents in points], np.float64)
        rows = rows if len(points) > 1 else rows[:, :1]
        values = np.array([max(0.0, value - known(documents)) for documents, value in points.items()])
        scale = np.maximum(np.array(list(points.values()), np.float64), 1e-9)[:, None]
        units = np.maximum(rows.max(axis=0), 1e-9)  # features of similar size, for the precision of the solver
        self._weights = nnls(rows / units / scale, values / scale[:, 0])[0] / units

    def at(self, documents: int) -> Estimate:
        """Return the cost of a number of documents."""
        quantities = self._features(documents)[: len(self._weights)]
        value = self._known(documents) + sum(float(w) * q for w, q in zip(self._weights, quantities, strict=True))
        return Estimate(round(value, 6), distance(documents, self.low, self.high))


def distance(documents: int, low: int, high: int) -> float:
    """Return how far a number of documents is from the measured ones (see ``Estimate.factor``)."""
    return documents / high if documents > high else documents / low if documents < low else 1.0


def heaps_law(sizes: Mapping[int, int]) -> Callable[[int], float]:
    """Return the number of distinct terms for a number of documents by Heaps' law: ``K * documents ** beta``.

    Args:
        sizes: Number of distinct terms for each of two or more numbers of documents.

    Returns:
        The function; ``beta`` is the one between the largest two sizes, because it decreases with the size.

    Example:
        >>> terms = heaps_law({100: 1000, 400: 2000})
        >>> round(terms(1600))
        4000
    """
    (low, few), (high, many) = sorted(sizes.items())[-2:]
    beta = min(1.0, math.log(max(many, 1) / max(few, 1)) / math.log(high / low))
    return lambda documents: float(many * (documents / high) ** beta)


class IndexModel:
    """Costs of an index as functions of the number of documents, fitted to small indexes.

    Bytes are those that ``Index.growth`` knows (centroids, training samples) plus a multiple of the number of documents
    and, for indexes of texts, a multiple of the number of distinct terms. Times are multiples of the work that
    ``Index.growth`` returns, the latency with a constant.

    Args:
        index: Settings of the index.
        samples: Measurements with different numbers of documents, at least one.
        dim: Number of dimensions of the representations; 0 for texts.
        vocabulary: Number of distinct terms for a number of documents, for an index of texts (see ``heaps_law``).
    """

    def __init__(
        self,
        index: Index,
        samples: Sequence[Sample],
        dim: int = 0,
        vocabulary: Callable[[int], float] | None = None,
    ) -> None:
        self.index, self.samples = index, tuple(samples)

        def growth(documents: int) -> tuple[float, float, int, int]:
            return index.growth(documents, dim)

        def sizes(documents: int) -> Sequence[float]:
            return (documents, vocabulary(documents)) if vocabulary else (documents, 1)

        def fitted(name: str, features: Features, known: Callable[[int], float] = lambda _: 0.0) -> Fit:
            return Fit({one.documents: getattr(one, name) for one in samples}, features, known)

        self._build = fitted("build_seconds", lambda n: (growth(n)[0], n))
        self._milliseconds = fitted("milliseconds", lambda n: (growth(n)[1], 1))
        self._disk = fitted("disk_bytes", sizes, lambda n: growth(n)[2])
        files = fitted("memory_bytes", sizes, lambda n: growth(n)[2])
        self._files = files
        self._other = fitted("other_bytes", lambda n: (vocabulary(n), 1) if vocabulary else (1, n))
        if growth(samples[0].documents)[3]:
            self._peak = fitted("build_bytes", lambda n: (growth(n)[3],), lambda n: files.at(n).value)
        else:
            self._peak = fitted("build_bytes", lambda n: (vocabulary(n),) if vocabulary else sizes(n))

    def at(self, documents: int) -> IndexCosts:
        """Return the costs of a number of documents."""
        files, other = self._files.at(documents), self._other.at(documents)
        return IndexCosts(
            index=self.index.label,
            input_type=self.index.input_type,
            build_seconds=self._build.at(documents),
            disk_bytes=self._disk.at(documents),
            memory_bytes=Estimate(files.value + other.value, files.factor),
            build_bytes=self._peak.at(documents),
            milliseconds=self._milliseconds.at(documents),
        )

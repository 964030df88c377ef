"""An estimate with its confidence interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypedDict


class SavedInterval(TypedDict):
    """JSON object of an interval; infinite bounds are null."""

    mean: float
    low: float | None
    high: float | None


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval.

    Example:
        >>> Interval(mean=0.52, low=0.48, high=0.56).low
        0.48
    """

    mean: float
    """The estimate, such as the mean of a measure over queries or a difference of two means."""
    low: float
    """Lower bound of the interval; ``-inf`` if there are too few data to compute it."""
    high: float
    """Upper bound of the interval; ``inf`` if there are too few data to compute it."""

    @classmethod
    def from_dict(cls, values: Mapping[str, float | None] | SavedInterval) -> Interval:
        """Return an interval from its JSON object with ``mean``, ``low`` and ``high``.

        Args:
            values: The JSON object. A bound that is None is read as infinite.

        Returns:
            The interval.

        Raises:
            ValueError: ``mean`` is None, or a value is no number.
        """
        mean, low, high = values["mean"], values["low"], values["high"]
        if not all(isinstance(value, (int, float)) for value in (mean, low, high) if value is not None):
            raise ValueError("an interval contains a value that is no number")
        if mean is None:
            raise ValueError("an interval has no mean")
        return cls(mean, float("-inf") if low is None else low, float("inf") if high is None else high)

"""Latency: the time that single queries take, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from encloze import progress
from encloze.tables import Column, Kind

_WARM_UP, _TIMED = 5, 100
_PERCENTILES = (50, 95, 99)
LATENCIES = tuple(f"p{percentile}" for percentile in _PERCENTILES)
"""Names of the percentiles that are reported."""

Q = TypeVar("Q")


def latency_columns() -> list[Column]:
    """Return the columns of tables that show latencies."""
    return [Column(f"ms, {name}", Kind.MILLISECONDS) for name in LATENCIES]


def latencies(search: Callable[[Q], Any], queries: Sequence[Q], count: int = _TIMED) -> dict[str, float]:
    """Return the median and the 95th and 99th percentile of the time that single queries take, in milliseconds.

    The queries are timed one after the other, after 5 that are not counted. If there are too few, they are repeated.

    Args:
        search: Function that processes one query.
        queries: At least one query.
        count: Number of queries that are timed; 100 by default.

    Example:
        >>> sorted(latencies(len, ["a", "b"]))
        ['p50', 'p95', 'p99']
    """
    times = []
    with progress.use_listener(progress.SilentListener()):
        for number in range(_WARM_UP + count):
            query = queries[number % len(queries)]
            began = time.perf_counter()
            search(query)
            times.append(1000 * (time.perf_counter() - began))
    return dict(zip(LATENCIES, np.percentile(times[_WARM_UP:], _PERCENTILES).tolist(), strict=True))

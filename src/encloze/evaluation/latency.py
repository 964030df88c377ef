"""Latency: the time that single queries take, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from encloze import progress
from encloze.tables import Column, Kind

_WARM_UP, _TIMED = 5, 100
_PERCENTILES = (50, 95, 99)
LATENCIES = tuple(f"p{percentile}" for percentile in _PERCENTILES)
"""Names of the percentiles that are reported."""

Q = TypeVar("Q")


STAGES = ("encoder", "index", "fusion", "reranker")
"""Stages of a search that are timed, too."""
LATENCY_NOTE = (
    f"ms, p50 to p99: {_TIMED} queries searched one after the other, after {_WARM_UP} to warm up; ms, encoder to "
    "reranker: medians of these parts"
)
_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the ``with`` block to a stage of the search, if times are collected (see ``collect_stages``)."""
    times, began = _stages.get(), time.perf_counter()
    yield
    if times is not None:
        times[name] = times.get(name, 0.0) + time.perf_counter() - began


@contextmanager
def collect_stages() -> Iterator[dict[str, float]]:
    """Yield the seconds of each stage of the searches in the ``with`` block, in this thread.

    Example:
        >>> with collect_stages() as seconds, stage("encoder"):
        ...     pass
        >>> list(seconds)
        ['encoder']
    """
    times = dict[str, float]()
    token = _stages.set(times)
    try:
        yield times
    finally:
        _stages.reset(token)


def latency_columns() -> list[Column]:
    """Return the columns of tables that show latencies: percentiles, and the medians of the stages."""
    return [Column(f"ms, {name}", Kind.MILLISECONDS) for name in (*LATENCIES, *STAGES)]


def latency_values(latency: Mapping[str, float]) -> list[float | None]:
    """Return the values of ``latency_columns`` for what ``latencies`` measured; None for what was not measured."""
    return [latency.get(name) for name in (*LATENCIES, *STAGES)]


def latencies(search: Callable[[Q], Any], queries: Sequence[Q], count: int = _TIMED) -> dict[str, float]:
    """Return the median and the 95th and 99th percentile of the time that single queries take, in milliseconds.

    The queries are timed one after the other, after 5 that are not counted. If there are too few, they are repeated.

    Args:
        search: Function that processes one query.
        queries: At least one query.
        count: Number of queries that are timed; 100 by default.

    Returns:
        The percentiles, and the medians of the stages that the search has (``STAGES``).

    Example:
        >>> sorted(latencies(len, ["a", "b"]))
        ['p50', 'p95', 'p99']
    """
    times, of_stages = list[float](), dict[str, list[float]]()
    with progress.use_listener(progress.SilentListener()):
        for number in range(_WARM_UP + count):
            query = queries[number % len(queries)]
            with collect_stages() as stages:
                began = time.perf_counter()
                search(query)
                times.append(1000 * (time.perf_counter() - began))
            for name, seconds in stages.items():
                of_stages.setdefault(name, []).append(1000 * seconds)
    percentiles = dict(zip(LATENCIES, np.percentile(times[_WARM_UP:], _PERCENTILES).tolist(), strict=True))
    return percentiles | {name: float(np.median(values[-count:])) for name, values in of_stages.items()}

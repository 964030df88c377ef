"""Metrics of the service in the format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of requests and batches; a ``BatchObserver``."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        every: dict[str, Any] = {"registry": self._registry}
        labels = ("route", "method", "status")
        self._requests = Histogram(
            "encloze_request_seconds", "Time from the request to its response", labels, buckets=_SECONDS, **every
        )
        self._stages = Histogram(
            "encloze_stage_seconds",
            "Time of a batch: waiting for the model (queue), or processing (compute)",
            ("stage", "part"),
            buckets=_SECONDS,
            **every,
        )
        self._parts = Histogram(
            "encloze_search_part_seconds",
            "Time of a part of the search of a batch: encoder, index, fusion, reranker",
            ("part",),
            buckets=_SECONDS,
            **every,
        )
        self._batches = Histogram("encloze_batch_items", "Items in a batch", ("stage",), buckets=_SIZES, **every)
        self._waiting = Gauge("encloze_waiting_items", "Items that wait to be processed", ("stage",), **every)
        self._documents = Gauge("encloze_documents", "Documents of a collection", ("collection",), **every)
        self._age = Gauge(
            "encloze_index_age_seconds",
            "Time since the documents of a collection were opened",
            ("collection",),
            **every,
        )
        self._cache = Counter(
            "encloze_cached_results",
            "Results of searches that were in the cache (hit) or not (miss)",
            ("result",),
            **every,
        )
        self._opened = dict[str, float]()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a response. ``route`` is a path with names of parameters, such as ``/v1/documents/{id}``."""
        self._requests.labels(route, method, str(status)).observe(seconds)

    def batch(self, stage: str, items: int, waited: float, computed: float) -> None:
        """Record a batch (see ``BatchObserver``)."""
        self._batches.labels(stage).observe(items)
        self._stages.labels(stage, "queue").observe(waited)
        self._stages.labels(stage, "compute").observe(computed)

    def searched(self, seconds: Mapping[str, float]) -> None:
        """Record the seconds of each part of the search of a batch."""
        for part, duration in seconds.items():
            self._parts.labels(part).observe(duration)

    def cached(self, hits: int, misses: int) -> None:
        """Record how many results of a batch were in the cache, and how many were not."""
        self._cache.labels("hit").inc(hits)
        self._cache.labels("miss").inc(misses)

    def watch_waiting(self, stage: str, count: Callable[[], int]) -> None:
        """Show the number of waiting items of a stage: what ``count`` returns when metrics are rendered."""
        self._waiting.labels(stage).set_function(count)

    def opened(self, collection: str, documents: int) -> None:
        """Record that the documents of a collection were opened."""
        self._opened[collection] = time.time()
        self._documents.labels(collection).set(documents)

    def render(self) -> bytes:
        """Return all metrics as text."""
        for collection, since in self._opened.items():
            self._age.labels(collection).set(time.time() - since)
        return generate_latest(self._registry)

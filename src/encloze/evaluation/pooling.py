"""Pools: the documents that several systems rank for queries, and how differently they rank them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.data.records import Query, Run
from encloze.data.runs import top_documents
from encloze.evaluation.priority_sampling import PrioritySample
from encloze.storage.checked_json import read_checked_json, write_checked_json


class PooledQuery(NamedTuple):
    """A query with the best documents of each system.

    Example:
        >>> pooled = PooledQuery(Query("q1", "rivers"), (("a", "b"), ("a", "c")))
        >>> pooled.documents
        ['b', 'c', 'a']
    """

    query: Query
    rankings: tuple[tuple[str, ...], ...]
    """Ids of the best documents of each system, best first. The first system is the baseline."""

    @property
    def weights(self) -> dict[str, float]:
        """The pooled documents, with the mean difference of their weights in DCG between the baseline and the others.

        The difference of nDCG between two systems is at most the sum of these differences. With one system, the weight
        of each document in its DCG.
        """
        discounts = [dict(zip(ranking, _discounts(len(ranking)), strict=True)) for ranking in self.rankings]
        baseline, others = discounts[0], discounts[1:] or [{}]
        ids = dict.fromkeys(id_ for ranking in self.rankings for id_ in ranking)
        return {id_: float(np.mean([abs(baseline.get(id_, 0) - other.get(id_, 0)) for other in others])) for id_ in ids}

    @property
    def documents(self) -> list[str]:
        """The pooled documents; those first on whose rank the systems disagree most."""
        weights = self.weights
        return sorted(weights, key=lambda id_: -weights[id_])


@dataclass(frozen=True)
class Pool:
    """Queries with the documents that systems rank for them.

    Args:
        systems: Titles of the systems, the baseline first.
        depth: Number of documents of each system and query.
        queries: The queries, in the order in which they are judged (see ``PrioritySample``).
        seed: Seed of the order.
    """

    systems: tuple[str, ...]
    depth: int
    queries: tuple[PooledQuery, ...]
    seed: int

    @classmethod
    def from_runs(cls, runs: Mapping[str, Run], queries: Sequence[Query], depth: int, seed: int) -> Pool:
        """Create a pool of the best documents of each run. ``runs`` has the title of a system for each."""
        tops = [
            PooledQuery(query, tuple(tuple(top_documents(run.get(query.id, {}), depth)) for run in runs.values()))
            for query in queries
        ]
        unordered = cls(tuple(runs), depth, tuple(tops), seed)
        return cls(tuple(runs), depth, tuple(tops[number] for number in unordered.sample.order), seed)

    @cached_property
    def sample(self) -> PrioritySample:
        """The order of the queries. Those that all systems rank alike come last."""
        weights = np.array([sum(one.weights.values()) if len(self.systems) > 1 else 1.0 for one in self.queries])
        numbers = np.array([hash_to_unit_interval(f"{self.seed} {one.query.id}") for one in self.queries])
        return PrioritySample(weights, numbers)

    @property
    def num_documents(self) -> int:
        """Number of all pairs of a query and a pooled document."""
        return sum(len(one.documents) for one in self.queries)

    def save(self, file: Path) -> None:
        """Write the pool to a file."""
        rows = [[one.query.id, one.query.text, one.rankings] for one in self.queries]
        content = {"systems": self.systems, "depth": self.depth, "seed": self.seed, "queries": rows}
        write_checked_json(file, content)

    @classmethod
    def load(cls, file: Path) -> Pool:
        """Read a pool that ``save`` wrote. Raises CheckpointError if the file is missing or damaged."""
        content = read_checked_json(file)
        queries = tuple(
            PooledQuery(Query(id_, text), tuple(map(tuple, rankings))) for id_, text, rankings in content["queries"]
        )
        return cls(tuple(content["systems"]), content["depth"], queries, content["seed"])


def _discounts(count: int) -> list[float]:
    """Return the weights of the ranks 1 to ``count`` in DCG."""
    discounts: list[float] = (1 / np.log2(np.arange(2, count + 2))).tolist()
    return discounts

"""Judgments of pooled documents: what is left to judge, and what they say so far about the difference of systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from encloze.data.records import Judgments
from encloze.evaluation.measures import compute_measures
from encloze.evaluation.pooling import Pool
from encloze.intervals import Interval

_MIN_QUERIES = 5
"""Fewest judged queries from which a difference is estimated: standard errors of fewer are too uncertain."""
_MAX_QUERIES = 1_000_000


class PoolComparison(NamedTuple):
    """What the judgments say about one system compared with the baseline."""

    baseline: str
    system: str
    difference: Interval
    """Mean difference of nDCG (system minus baseline) over all queries, with its 95 % confidence interval."""
    minimum_detectable_difference: float
    """The smallest true difference that is detected with these judgments with a probability of 80 %."""
    detectable_with_all: float
    """The same, when all pooled documents are judged."""
    judgments_to_decide: int | None
    """Number of further judgments after which a true difference as large as the estimated one is detected with a
    probability of 80 %; None if all pooled documents do not suffice."""
    queries_to_decide: int | None
    """Number of queries that are needed for this, judged and new ones included; None if it is above a million."""


class PooledJudgments:
    """Grades of pooled documents.

    A query is complete if all its pooled documents have grades. Systems are compared by the complete queries at the
    beginning of the order of the pool, because only these are a random sample.

    Args:
        pool: Queries with their documents.
        judgments: Grades that are known, by query and document. Those of other documents count, too.

    Example:
        >>> from encloze.data.records import Query
        >>> runs = {"bm25": {"q1": {"a": 2.0}}, "minilm": {"q1": {"b": 1.0}}}
        >>> judgments = PooledJudgments(Pool.from_runs(runs, [Query("q1", "rivers")], depth=10, seed=0), {})
        >>> judgments.missing(0)
        ['a', 'b']
        >>> judgments.judge(0, "a", 1)
        >>> judgments.num_judged
        1
    """

    def __init__(self, pool: Pool, judgments: Judgments) -> None:
        self.pool, self.measure = pool, f"nDCG@{pool.depth}"
        self._documents = [one.documents for one in pool.queries]
        self._grades = [dict(judgments.get(one.query.id, {})) for one in pool.queries]
        self._num_missing = [len(self.missing(number)) for number in range(len(self._documents))]
        self._values = dict[int, list[float]]()

    def grades(self, number: int) -> Mapping[str, int]:
        """Return the grades of a query; ``number`` is its position in the pool."""
        return self._grades[number]

    def documents(self, number: int) -> list[str]:
        """Return the pooled documents of a query, in the order in which they are judged."""
        return self._documents[number]

    def judge(self, number: int, document: str, grade: int | None) -> None:
        """Set the grade of a document for a query, or remove it if ``grade`` is None."""
        if grade is None:
            self._grades[number].pop(document, None)
        else:
            self._grades[number][document] = grade
        self._num_missing[number] = len(self.missing(number))
        self._values.pop(number, None)

    def missing(self, number: int) -> list[str]:
        """Return the pooled documents of a query that have no grade."""
        return [document for document in self._documents[number] if document not in self._grades[number]]

    @property
    def num_judged(self) -> int:
        """Number of pooled documents with grades, over all queries."""
        return sum(map(len, self._documents)) - sum(self._num_missing)

    @property
    def num_complete(self) -> int:
        """Number of queries whose pooled documents all have grades."""
        return self._num_missing.count(0)

    def next_incomplete(self, after: int = -1) -> int | None:
        """Return the first incomplete query after a position or, if there is none, of all; None if all are complete."""
        numbers = range(len(self._documents))
        order = (*numbers[after + 1 :], *numbers[: after + 1])
        return next((number for number in order if self._num_missing[number]), None)

    @property
    def num_compared(self) -> int:
        """Number of the complete queries at the beginning of the order, by which systems are compared."""
        size = self.pool.sample.size
        return next((number for number in range(size) if self._num_missing[number]), size)

    def comparisons(self) -> list[PoolComparison]:
        """Compare each system with the first one; empty until 5 queries, or all, are complete."""
        count, size = self.num_compared, self.pool.sample.size
        if count < min(_MIN_QUERIES, size) or len(self.pool.queries) < 2:
            return []
        values = np.array([self.values(number) for number in range(count)]).reshape(count, len(self.pool.systems))
        return [self._compare(system, values[:, system] - values[:, 0]) for system in range(1, len(self.pool.systems))]

    def _compare(self, system: int, differences: np.ndarray) -> PoolComparison:
        sample, count = self.pool.sample, len(differences)
        estimate = sample.estimate(differences)
        with_all = sample.minimum_detectable_difference(differences, sample.size) if sample.size else 0.0
        to_decide = sample.count_to_detect(differences) if sample.size else count
        queries = to_decide
        if to_decide is None and with_all < abs(estimate.mean) * (_MAX_QUERIES / len(self.pool.queries)) ** 0.5:
            # the standard error falls with the square root of the number of queries
            queries = int(np.ceil(len(self.pool.queries) * (with_all / estimate.mean) ** 2))
        return PoolComparison(
            baseline=self.pool.systems[0],
            system=self.pool.systems[system],
            difference=estimate.interval(),
            minimum_detectable_difference=estimate.minimum_detectable_difference(),
            detectable_with_all=with_all,
            judgments_to_decide=(None if to_decide is None else sum(self._num_missing[count:to_decide])),
            queries_to_decide=queries,
        )

    def values(self, number: int) -> list[float]:
        """Return the measure of each system for a complete query."""
        if number not in self._values:
            query, rankings = self.pool.queries[number]
            judgments = {query.id: self._grades[number]}
            runs = [{query.id: {id_: -float(at) for at, id_ in enumerate(ranking)}} for ranking in rankings]
            measured = [compute_measures(run, judgments, [self.measure]) for run in runs]
            self._values[number] = [float(one[self.measure][0]) for one in measured]
        return self._values[number]

"""Comparison of a result with a stored baseline, which fails if the result is significantly worse by a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encloze.errors import DataError
from encloze.evaluation.estimates import Estimate, estimate
from encloze.evaluation.measures import canonical_name
from encloze.evaluation.report import Report
from encloze.evaluation.significance import holm, randomization_test
from encloze.intervals import Interval
from encloze.tables import Column, Kind, Table, notebook_html

_LISTED = 5


@dataclass(frozen=True)
class Regression:
    """Difference between a result and its baseline for one system and one measure."""

    system: str
    measure: str
    baseline: float
    """Mean of the baseline."""
    result: float
    """Mean of the result."""
    difference: Interval
    """Mean over queries of (result - baseline), with its 95 % confidence interval."""
    p_value: float
    """P-value of the paired randomization test, Holm-corrected for all systems and measures."""
    detectable: float
    """Smallest true difference that a test at the level .05 detects with a probability of 80 %."""
    is_worse: bool
    """Whether the result is worse by more than the margin, and significantly."""


@dataclass(frozen=True)
class GateResult:
    """Result of ``gate``: the differences between a result and its baseline.

    Example:
        >>> import numpy as np
        >>> from encloze.evaluation.report import Report
        >>> from encloze.evaluation.results import SystemResult
        >>> def report(values):
        ...     system = SystemResult("mine", {}, values={"nDCG@10": np.array(values)})
        ...     return Report("data", "dev", ("nDCG@10",), tuple("abcdefgh"), (system,))
        >>> compare_with_baseline(report([.1] * 8), report([.9] * 7 + [.8])).has_failed
        True
    """

    dataset: str
    split: str
    queries: int
    margin: float
    level: float
    regressions: tuple[Regression, ...]

    @property
    def has_failed(self) -> bool:
        """Whether a system is worse in a measure. The command line then ends with the exit code 1."""
        return any(one.is_worse for one in self.regressions)

    def tables(self) -> list[Table]:
        """Return a list with one table: one row for each system and measure."""
        columns = (
            Column("system"),
            Column("measure"),
            Column("baseline", Kind.MEASURE),
            Column("result", Kind.MEASURE),
            Column("result - baseline", Kind.DIFFERENCE),
            Column("p (Holm)", Kind.P_VALUE),
            Column("detectable", Kind.MEASURE),
            Column("verdict"),
        )
        rows = [
            (
                *(one.system, one.measure, one.baseline, one.result, one.difference, one.p_value, one.detectable),
                "worse" if one.is_worse else "passed",
            )
            for one in self.regressions
        ]
        return [Table(f"{self.dataset}, {self.split}: {self.queries:,} queries", columns, tuple(rows))]

    @property
    def notes(self) -> list[str]:
        """What counts as worse, and whether a loss as large as the margin could have been noticed."""
        rule = f"worse: by more than {self.margin:g} and with p below {self.level:g}"
        weak = [one for one in self.regressions if one.detectable > max(self.margin, 1e-9)]
        if not weak:
            return [rule]
        smallest = max(one.detectable for one in weak)
        return [
            rule,
            f"with these queries, only losses of about {smallest:.3f} or more are noticed with 80 % probability",
        ]

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``. Raises MissingExtraError if pandas is not installed."""
        return self.tables()[0].to_pandas()

    def _repr_html_(self) -> str:
        return notebook_html(self.tables(), self.notes)


def compare_with_baseline(
    result: Report, baseline: Report, measures: Sequence[str] = (), margin: float = 0.01, level: float = 0.05
) -> GateResult:
    """Compare a result with a stored baseline. Systems are matched by name, or if there is only one in each report.

    Args:
        result: The new evaluation.
        baseline: The stored evaluation on the same queries.
        measures: Names of the compared measures; by default the first one of the baseline.
        margin: Largest loss that is accepted even if it is significant, such as .01 in nDCG@10.
        level: Significance level of the paired randomization tests, after Holm's correction.

    Raises:
        DataError: The reports are of other data sets, splits or queries, or a measure or a system of the baseline is
            missing in the result.
        ValueError: A measure is unknown.
    """
    before_and_after = [(Path(report.dataset).name, report.split) for report in (baseline, result)]
    if before_and_after[0] != before_and_after[1]:
        was, is_ = (f"the split {split} of {dataset}" for dataset, split in before_and_after)
        raise DataError(
            f"the baseline was evaluated on {was}, and the result on {is_}. Evaluate both on the same split"
        )
    order = _matching_queries(result, baseline)
    names = tuple(map(canonical_name, measures)) or baseline.measures[:1]
    for report, name in ((result, "the result"), (baseline, "the baseline")):
        if missing := [measure for measure in names if measure not in report.measures]:
            raise DataError(f"{name} has no measure {missing[0]}; it has {', '.join(report.measures)}")
    keys, before, after = list[tuple[str, str]](), list[np.ndarray](), list[np.ndarray]()
    new = {system.name: system for system in result.systems}
    for system in baseline.systems:
        other = result.systems[0] if len(result.systems) == len(baseline.systems) == 1 else new.get(system.name)
        if other is None:
            raise DataError(f"the result has no system {system.name!r} of the baseline; it has {', '.join(new)}")
        for measure in names:
            keys.append((other.name, measure))
            before.append(system.values[measure])
            after.append(other.values[measure][order])
    p_values = holm([randomization_test(one, two, seed=result.seed) for one, two in zip(after, before, strict=True)])
    regressions = []
    for (system_name, measure), one, two, p_value in zip(keys, after, before, p_values, strict=True):
        difference: Estimate = estimate([one - two])
        is_worse = difference.mean < -margin and p_value < level
        means, detectable = (float(two.mean()), float(one.mean())), difference.minimum_detectable_difference()
        regressions.append(
            Regression(system_name, measure, *means, difference.interval(), p_value, detectable, is_worse)
        )
    return GateResult(result.dataset, result.split, len(result.queries), margin, level, tuple(regressions))


def _matching_queries(result: Report, baseline: Report) -> list[int]:
    """Return the position in the result of each query of the baseline. Raise DataError if the queries differ."""
    if different := sorted(set(result.queries) ^ set(baseline.queries)):
        listed = ", ".join(different[:_LISTED])
        raise DataError(
            f"the result ({len(result.queries):,} queries) and the baseline ({len(baseline.queries):,} queries) were "
            f"evaluated on other queries; {len(different):,} are only in one of them: {listed}. Evaluate both on the "
            "same split"
        )
    positions = {query: position for position, query in enumerate(result.queries)}
    return [positions[query] for query in baseline.queries]

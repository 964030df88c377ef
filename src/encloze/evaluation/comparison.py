"""Several systems on one or more data sets, as values: means, and each against the first with all its tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze.data.contamination import Contamination
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import SIZES, Report, SystemResult, file_names, markdown_table
from encloze.evaluation.significance import bootstrap, holm, randomization_test
from encloze.intervals import Interval
from encloze.storage.json_files import read_json, write_json

MEAN = "mean"
"""What stands for all data sets together."""
_LEVEL = 0.05


class Table(NamedTuple):
    """Rows of text under a title; the first is the head."""

    title: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Contrast:
    """A system against the first one on a data set, or on the mean of all. All p-values are corrected by Holm."""

    dataset: str
    system: str
    difference: Interval
    wins: int
    """Queries that it does better on than the first one."""
    ties: int
    losses: int
    p_value: float
    """Against there being no difference: paired randomisation test; Student's t where seeds are random too."""
    p_not_worse: float
    """Against its being worse by the margin or more: one-sided, Student's t."""
    p_equivalent: float
    """Against a difference of the margin or more in either direction: two one-sided tests."""
    minimum_detectable_difference: float
    """The difference that a test at 5 %, uncorrected, finds on so many such queries four times in five."""

    def verdict(self, margin: float) -> str:
        """What the tests say together, at 5 % for all of them that ask the same."""
        little = f", by less than {margin:g}" * (self.p_equivalent <= _LEVEL)
        if self.p_value <= _LEVEL:
            return ("better" if self.difference.mean > 0 else "worse") + little
        if self.p_equivalent <= _LEVEL:
            return f"equivalent within {margin:g}"
        return f"not worse by {margin:g}" if self.p_not_worse <= _LEVEL else "undecided"


class Competitor(NamedTuple):
    """A system of the table, and the systems of the reports it is made of: one, or one for each seed."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonTable:
    """Reports of the same systems on several data sets. The first system is what the others are compared with."""

    reports: tuple[Report, ...]
    competitors: tuple[Competitor, ...]
    names: tuple[str, ...]
    """What each data set is called."""
    margin: float = 0.01
    """How much counts as nothing."""
    seed: int = 0
    """What the intervals and tests are drawn from."""
    contamination: tuple[tuple[Contamination, ...], ...] = ()
    """Of each data set, what the split that is judged shares with those that are learnt from."""

    @property
    def measure(self) -> str:
        return self.reports[0].measures[0]

    def results(self, report: Report, competitor: Competitor) -> list[SystemResult]:
        """What a report says of a competitor: one result for each of its seeds."""
        return [system for system in report.systems if system.name in competitor.members]

    def values(self, report: Report, competitor: Competitor, measure: str) -> np.ndarray:
        """The values of each query: float64, seeds x queries."""
        return np.stack([system.values[measure] for system in self.results(report, competitor)])

    @cached_property
    def means(self) -> dict[str, list[Interval]]:
        """Of each competitor the first measure on every data set, then, of several, their mean."""
        found = {}
        for competitor in self.competitors:
            of_datasets = [self.values(report, competitor, self.measure) for report in self.reports]
            found[competitor.name] = [self._interval(values) for values in of_datasets]
            if len(self.reports) > 1:
                found[competitor.name].append(estimate(of_datasets).interval())
        return found

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Every other competitor against the first, on each data set and on their mean."""
        raw = list(self._raw())
        p_values, not_worse, equivalent = (
            holm([getattr(one, name) for one in raw]) for name in ("p_value", "p_not_worse", "p_equivalent")
        )
        corrected = zip(raw, p_values, not_worse, equivalent, strict=True)
        return tuple(replace(one, p_value=p, p_not_worse=n, p_equivalent=e) for one, p, n, e in corrected)

    def _raw(self) -> Iterator[Contrast]:
        """The contrasts before their correction."""
        first, *others = self.competitors
        for other in others:
            values, against = (
                [self.values(report, one, self.measure) for report in self.reports] for one in (other, first)
            )
            for at, name in enumerate(self.names):
                yield self._contrast(name, other.name, [values[at]], [against[at]])
            if len(self.names) > 1:
                yield self._contrast(MEAN, other.name, values, against)

    def _contrast(
        self, dataset: str, system: str, values: Sequence[np.ndarray], against: Sequence[np.ndarray]
    ) -> Contrast:
        """A contrast, uncorrected, of values (seeds x queries) on one or more data sets."""
        found = estimate(values, against)
        of_queries = [one.mean(axis=0) - other.mean(axis=0) for one, other in zip(values, against, strict=True)]
        better, worse = (
            sum(int((sign * values > 1e-9).sum()) for values in of_queries) for sign in (1, -1)
        )  # equal measures may differ in their last bits
        weighted = np.concatenate([values / len(values) for values in of_queries]) / len(of_queries)
        has_seeds = any(len(one) > 1 for one in (*values, *against))
        return Contrast(
            dataset,
            system,
            found.interval(),
            better,
            len(weighted) - better - worse,
            worse,
            found.p_value() if has_seeds else randomization_test(weighted, np.zeros(len(weighted)), seed=self.seed),
            found.p_above(-self.margin),
            found.p_equivalent_within(self.margin),
            found.minimum_detectable_difference(),
        )

    def _interval(self, values: np.ndarray) -> Interval:
        return estimate([values]).interval() if len(values) > 1 else bootstrap(values[0], seed=self.seed)

    def tables(self) -> list[Table]:
        """Means; each system against the first; every measure with what a system takes."""
        head = ["system", *self.names, *[MEAN] * (len(self.reports) > 1)]
        means = [[name, *map(_with_interval, of_name)] for name, of_name in self.means.items()]
        sets = ", ".join(
            f"{name} {report.split} ({len(report.queries):,} queries{report.counts.size() if report.counts else ''})"
            for name, report in zip(self.names, self.reports, strict=True)
        )
        title = f"{self.measure} with 95 % intervals; {sets}"
        tables = [Table(title, [head, *means])]
        if self.contrasts:
            tables.append(self._against())
        return [*tables, self._measured()]

    def _against(self) -> Table:
        names = ["data set", "system", "difference", "p (Holm)", "wins/ties/losses", "verdict", "visible from"]
        rows = [
            [
                contrast.dataset,
                contrast.system,
                "{:+.4f} [{:+.4f}, {:+.4f}]".format(*(round(x, 4) + 0.0 for x in contrast.difference)),  # no -0
                f"{contrast.p_value:.4f}",
                f"{contrast.wins}/{contrast.ties}/{contrast.losses}",
                contrast.verdict(self.margin),
                f"{contrast.smallest:.4f}"
                if contrast.minimum_detectable_difference
                else "",  # queries that all tie tell nothing of it
            ]
            for contrast in self.contrasts
        ]
        title = (
            f"{self.measure} against {self.competitors[0].name}: 95 % intervals of each line by itself; p-values and "
            f"verdicts corrected for all {len(rows)} lines"
        )
        return Table(title, self._without_single([names, *rows]))

    def _measured(self) -> Table:
        measures = self.reports[0].measures
        rows = [["data set", "system", *measures, "ms/query", "index MiB", "model MiB", "memory MiB"]]
        for name, report in zip(self.names, self.reports, strict=True):
            for competitor in self.competitors:
                figures = [self.values(report, competitor, measure).mean() for measure in measures]
                results = self.results(report, competitor)
                took = [_mean([system.milliseconds for system in results], 1, ".1f")]
                sizes = [_mean([getattr(system, size) for system in results], 2**20, ".2f") for size in SIZES]
                rows.append([name, competitor.name, *(f"{figure:.4f}" for figure in figures), *took, *sizes])
        filled = [at for at in range(len(rows[0])) if any(row[at] for row in rows[1:])]
        return Table(
            "All measures, and what it takes", self._without_single([[row[at] for at in filled] for row in rows])
        )

    def _without_single(self, rows: list[list[str]]) -> list[list[str]]:
        """Rows without their first cell, the data set's name, where there is one for all."""
        return rows if len(self.names) > 1 else [row[1:] for row in rows]

    @property
    def notes(self) -> list[str]:
        """What data sets share with what is learnt from, what does not fit together, what systems say of themselves."""
        found = self.contamination or [()] * len(self.reports)
        return [
            f"{name}: {note}" if len(self.reports) > 1 else note
            for name, report, shared in zip(self.names, self.reports, found, strict=True)
            for note in [*(one.told() for one in shared), *report.notes]
        ]

    def markdown(self) -> str:
        parts = [line for title, rows in self.tables() for line in (f"{title}.", "", *markdown_table(rows), "")]
        return "\n".join([*parts, *(f"- {note}" for note in self.notes)]) + "\n"

    def save(self, folder: Path) -> None:
        """Write comparison.md, comparison.json, and the report of each data set in a folder of its own."""
        (folder / "comparison.md").write_text(self.markdown(), encoding="utf-8")
        write_json(folder / "comparison.json", self.figures())
        for name, report in zip(file_names(self.names), self.reports, strict=True):
            (folder / name).mkdir()
            report.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> ComparisonTable:
        """The comparison that ``save`` wrote, with its tests made anew from values of six digits."""
        said = read_json(folder / "comparison.json")
        names, competitors = (
            tuple(said["queries"]),
            [Competitor(s["name"], tuple(s["members"])) for s in said["systems"]],
        )
        reports = tuple(Report.load(folder / name) for name in file_names(names))
        shared = tuple(tuple(Contamination(**one) for one in of) for of in said.get("contamination", {}).values())
        return cls(reports, tuple(competitors), names, said["margin"], said.get("seed", 0), shared)

    @classmethod
    def of(cls, report: Report) -> ComparisonTable:
        """A single report as a comparison."""
        competitors = tuple(Competitor(system.name, (system.name,)) for system in report.systems)
        return cls((report,), competitors, short_names([report.dataset]), seed=report.seed)

    def figures(self) -> dict[str, object]:
        """The comparison as plain values."""
        columns = [*self.names, *[MEAN] * (len(self.reports) > 1)]
        systems = [
            {
                "name": competitor.name,
                "members": list(competitor.members),
                "means": {
                    name: mean._asdict() for name, mean in zip(columns, self.means[competitor.name], strict=True)
                },
            }
            for competitor in self.competitors
        ]
        against = [
            {**vars(contrast), "difference": contrast.difference._asdict(), "verdict": contrast.verdict(self.margin)}
            for contrast in self.contrasts
        ]
        return {
            "measure": self.measure,
            "splits": {name: report.split for name, report in zip(self.names, self.reports, strict=True)},
            "margin": self.margin,
            "seed": self.seed,
            "queries": {name: len(report.queries) for name, report in zip(self.names, self.reports, strict=True)},
            "systems": systems,
            "against_first": against,
            "contamination": {
                name: [one._asdict() for one in of]
                for name, of in zip(self.names, self.contamination, strict=bool(self.contamination))
            },
        }


def short_names(places: Sequence[str]) -> tuple[str, ...]:
    """Names of data sets as short as they differ: their paths without what all of them begin with, each once."""
    parts = [Path(place).parts for place in places]
    common = 0
    while all(len(of_place) > common + 1 and of_place[common] == parts[0][common] for of_place in parts):
        common += 1
    if len(parts) == 1:
        common = len(parts[0]) - 1
    names = [str(Path(*of_place[common:])) for of_place in parts]
    return tuple(
        f"{name} #{names[:at].count(name) + 1}" if name in names[:at] else name for at, name in enumerate(names)
    )


def _with_interval(mean: Interval) -> str:
    return "{:.4f} [{:.4f}, {:.4f}]".format(*mean)


def _mean(values: Sequence[float | None], unit: float, form: str) -> str:
    """The mean of what is known, as text."""
    known = [value for value in values if value is not None]
    return format(sum(known) / len(known) / unit, form) if known else ""

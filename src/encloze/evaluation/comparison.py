"""Comparison of several systems on one or more data sets: means, and differences from the first system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import numpy as np

from encloze.data.contamination import Contamination
from encloze.escapes import markdown
from encloze.evaluation.contrasts import Contrast, contrast_with
from encloze.evaluation.estimates import estimate
from encloze.evaluation.latency import latency_columns, latency_values
from encloze.evaluation.report import Report
from encloze.evaluation.results import SIZES, SystemResult
from encloze.evaluation.significance import bootstrap, holm
from encloze.intervals import Interval
from encloze.storage.file_names import file_names
from encloze.storage.integrity import check_if_result
from encloze.storage.json_files import explain_damage, read_json, write_json
from encloze.tables import Column, Kind, Table, Value, notebook_html

MEAN = "mean"
"""Name of the column and of the contrasts for the mean of all data sets."""


class ComparedSystem(NamedTuple):
    """A system of a comparison, possibly a model trained with several seeds.

    ``members`` lists the names that the system has in the reports, one name for each training seed.
    """

    name: str
    members: tuple[str, ...]


class _SavedComparison(TypedDict):
    queries: dict[str, int]
    systems: list[dict[str, Any]]
    equivalence_margin: float
    seed: NotRequired[int]
    contamination: NotRequired[dict[str, list[Contamination]]]


@dataclass(frozen=True)
class ComparisonTable:
    """Comparison of the same systems on one or more data sets. All other systems are compared with the first one.

    ``encloze.compare`` returns it.

    Args:
        reports: Report of each data set.
        systems: Compared systems. Models that differ only in their training seed are one system.
        names: Short name of each data set.
        equivalence_margin: Difference in the first measure below which two systems are called equivalent.
        seed: Seed of the bootstrap and of the randomization tests.
        contamination: For each data set, the overlap of the evaluated split with the splits used for training.
    """

    reports: tuple[Report, ...]
    systems: tuple[ComparedSystem, ...]
    names: tuple[str, ...]
    equivalence_margin: float = 0.01
    seed: int = 0
    contamination: tuple[tuple[Contamination, ...], ...] = ()

    @property
    def measure(self) -> str:
        """The measure by which systems are compared: the first one of the reports."""
        return self.reports[0].measures[0]

    def results(self, report: Report, system: ComparedSystem) -> list[SystemResult]:
        """Return the results of a system on the data set of ``report``, one for each training seed."""
        return [result for result in report.systems if result.name in system.members]

    def values(self, report: Report, system: ComparedSystem, measure: str) -> np.ndarray:
        """Return the values of a measure for each training seed and query: float64 array of shape (seeds, queries)."""
        return np.stack([result.values[measure] for result in self.results(report, system)])

    @cached_property
    def means(self) -> dict[str, list[Interval]]:
        """Mean of ``measure`` for each system: on each data set and, if there are several, over all data sets."""
        means = {}
        for system in self.systems:
            values = [self.values(report, system, self.measure) for report in self.reports]
            means[system.name] = [self._interval(of_dataset) for of_dataset in values]
            if len(self.reports) > 1:
                means[system.name].append(estimate(values).interval())
        return means

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Comparison of each other system with the first system: on each data set and on the mean of all data sets."""
        raw = list(self._uncorrected())
        p_values, not_worse, equivalent = (
            holm([getattr(one, name) for one in raw]) for name in ("p_value", "p_not_worse", "p_equivalent")
        )
        corrected = zip(raw, p_values, not_worse, equivalent, strict=True)
        return tuple(replace(one, p_value=p, p_not_worse=n, p_equivalent=e) for one, p, n, e in corrected)

    def _uncorrected(self) -> Iterator[Contrast]:
        """Yield the contrasts. Their p-values are not yet corrected for multiple tests by Holm's method."""
        settings = (self.equivalence_margin, self.seed)
        first, *others = self.systems
        baseline = [self.values(report, first, self.measure) for report in self.reports]
        for other in others:
            values = [self.values(report, other, self.measure) for report in self.reports]
            for number, name in enumerate(self.names):
                yield contrast_with(name, other.name, [values[number]], [baseline[number]], *settings)
            if len(self.names) > 1:
                yield contrast_with(MEAN, other.name, values, baseline, *settings)

    def _interval(self, values: np.ndarray) -> Interval:
        return estimate([values]).interval() if len(values) > 1 else bootstrap(values[0], seed=self.seed)

    def tables(self) -> list[Table]:
        """Return the tables of means, of differences from the first system, and of measures and costs.

        The table of differences is left out if there is only one system.
        """
        differences = [self._difference_table()] if self.contrasts else []
        return [self._mean_table(), *differences, self._measure_table()]

    def _mean_table(self) -> Table:
        """Return a table with one row for each system and one column for its mean on each data set."""
        datasets = ", ".join(
            f"{name} {report.split} ({len(report.queries):,} queries"
            f"{report.counts.size_suffix() if report.counts else ''})"
            for name, report in zip(self.names, self.reports, strict=True)
        )
        names = [*self.names, *[MEAN] * (len(self.reports) > 1)]
        columns = (Column("system"), *(Column(name, Kind.MEASURE) for name in names))
        rows: tuple[tuple[Value, ...], ...] = tuple((name, *means) for name, means in self.means.items())
        return Table(f"{self.measure} with 95 % intervals; {datasets}", columns, rows)

    def _difference_table(self) -> Table:
        """Return the table of differences: for each data set and their mean, one row for each system but the first."""
        columns = (
            Column("data set"),
            Column("system"),
            Column("difference", Kind.DIFFERENCE),
            Column("p (Holm)", Kind.P_VALUE),
            Column("wins", Kind.COUNT),
            Column("ties", Kind.COUNT),
            Column("losses", Kind.COUNT),
            Column("verdict"),
            Column("minimum detectable difference", Kind.MEASURE),
        )
        rows = tuple(
            (
                one.dataset,
                one.system,
                one.difference,
                one.p_value,
                one.wins,
                one.ties,
                one.losses,
                one.verdict(self.equivalence_margin),
                one.minimum_detectable_difference or None,  # cannot be estimated if all queries tie
            )
            for one in self.contrasts
        )
        count = f"{len(rows)} row{'s' * (len(rows) > 1)}"
        title = (
            f"{self.measure} against {self.systems[0].name}, with 95 % intervals; p-values and verdicts Holm-corrected "
            f"for {count}"
        )
        return self._without_single_dataset(Table(title, columns, rows))

    def _measure_table(self) -> Table:
        """Return a table of all measures and costs (time and sizes), with one row for each data set and system."""
        measures = self.reports[0].measures
        columns = (
            Column("data set"),
            Column("system"),
            *(Column(name, Kind.MEASURE) for name in measures),
            Column("ms/query (batched)", Kind.MILLISECONDS),
            *latency_columns(),
            *(Column(f"{name.removesuffix('_bytes')} MiB", Kind.MEBIBYTES) for name in SIZES),
        )
        rows: list[tuple[Value, ...]] = []
        for name, report in zip(self.names, self.reports, strict=True):
            for system in self.systems:
                means = [float(self.values(report, system, measure).mean()) for measure in measures]
                results = self.results(report, system)
                times = _mean([result.milliseconds_per_query for result in results])
                sizes = [_mean([getattr(result, size) for result in results], 2**20) for size in SIZES]
                latency = [
                    _mean(times) for times in zip(*(latency_values(one.latency) for one in results), strict=True)
                ]
                rows.append((name, system.name, *means, times, *latency, *sizes))
        table = Table("All measures and costs", columns, tuple(rows)).without_empty_columns()
        return self._without_single_dataset(table)

    def _without_single_dataset(self, table: Table) -> Table:
        """Return the table without its column ``data set`` if there is only one data set, else the unchanged table."""
        return table if len(self.names) > 1 else table.without_columns("data set")

    @property
    def notes(self) -> list[str]:
        """Notes on each data set: its overlaps with training data (contamination), then the notes of its report."""
        contamination = self.contamination or [()] * len(self.reports)
        return [
            f"{name}: {note}" if len(self.reports) > 1 else note
            for name, report, shared in zip(self.names, self.reports, contamination, strict=True)
            for note in [*(one.summary() for one in shared), *report.notes]
        ]

    def to_markdown(self) -> str:
        """Return all tables and notes in Markdown."""
        parts = [line for table in self.tables() for line in (f"{markdown(table.title)}.", "", table.to_markdown(), "")]
        return "\n".join([*parts, *(f"- {markdown(note)}" for note in self.notes)]) + "\n"

    def to_pandas(self, table: Literal["means", "differences", "measures"] = "means") -> Any:
        """Return one of the tables as a ``pandas.DataFrame``.

        Args:
            table: ``means`` (one row for each system), ``differences`` (one row for each data set and system but the
                first) or ``measures`` (one row for each data set and system).

        Raises:
            ValueError: There is no table of this name.
            MissingExtraError: pandas is not installed.
        """
        tables = {"means": self._mean_table, "differences": self._difference_table, "measures": self._measure_table}
        if table not in tables:
            raise ValueError(f"table must be one of {', '.join(tables)}, not {table!r}")
        return tables[table]().to_pandas()

    def _repr_html_(self) -> str:
        """Return the HTML that notebooks display."""
        return notebook_html(self.tables(), self.notes)

    def save(self, folder: Path) -> None:
        """Write the comparison into an existing folder.

        Args:
            folder: Receives ``comparison.md``, ``comparison.json``, and for each data set a folder with its report.
        """
        (folder / "comparison.md").write_text(self.to_markdown(), encoding="utf-8")
        write_json(folder / "comparison.json", self.to_dict())
        for name, report in zip(file_names(self.names), self.reports, strict=True):
            (folder / name).mkdir()
            report.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> ComparisonTable:
        """Return the comparison that ``save`` wrote. Significance tests are recomputed from per-query values rounded to
        six decimals.

        Args:
            folder: Folder with ``comparison.json`` and a folder for each data set.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        check_if_result(folder)
        content = read_json(folder / "comparison.json", _SavedComparison)
        names = tuple(content["queries"])
        contamination = content.get("contamination", {}).values()
        with explain_damage(folder):
            return cls(
                reports=tuple(Report.load(folder / name) for name in file_names(names)),
                systems=tuple(ComparedSystem(one["name"], tuple(one["members"])) for one in content["systems"]),
                names=names,
                equivalence_margin=content["equivalence_margin"],
                seed=content.get("seed", 0),
                contamination=tuple(tuple(Contamination(**one) for one in of_dataset) for of_dataset in contamination),
            )

    @classmethod
    def from_report(cls, report: Report) -> ComparisonTable:
        """Return a comparison of the systems of one report, on the data set of this report.

        Args:
            report: Report of one data set.
        """
        systems = tuple(ComparedSystem(result.name, (result.name,)) for result in report.systems)
        return cls((report,), systems, short_names([report.dataset]), seed=report.seed)

    def to_dict(self) -> dict[str, object]:
        """Return the content of ``comparison.json``: means, contrasts and contamination as JSON values."""
        columns = [*self.names, *[MEAN] * (len(self.reports) > 1)]
        systems = [
            {
                "name": system.name,
                "members": list(system.members),
                "means": {name: mean._asdict() for name, mean in zip(columns, self.means[system.name], strict=True)},
            }
            for system in self.systems
        ]
        contrasts = [
            {**vars(one), "difference": one.difference._asdict(), "verdict": one.verdict(self.equivalence_margin)}
            for one in self.contrasts
        ]
        shared = zip(self.names, self.contamination, strict=bool(self.contamination))
        return {
            "measure": self.measure,
            "splits": {name: report.split for name, report in zip(self.names, self.reports, strict=True)},
            "equivalence_margin": self.equivalence_margin,
            "seed": self.seed,
            "queries": {name: len(report.queries) for name, report in zip(self.names, self.reports, strict=True)},
            "systems": systems,
            "against_first": contrasts,
            "contamination": {name: [one._asdict() for one in of_dataset] for name, of_dataset in shared},
        }


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return a short, unique name for each data set: its path without the leading folders that all paths share.

    Example:
        >>> short_names(["data/beir/nq", "data/beir/fiqa"])
        ('nq', 'fiqa')
    """
    parts = [Path(path).parts for path in paths]
    common = 0
    while all(len(one) > common + 1 and one[common] == parts[0][common] for one in parts):
        common += 1
    if len(parts) == 1:
        common = len(parts[0]) - 1
    names = [str(Path(*one[common:])) for one in parts]
    return tuple(
        f"{name} #{names[:number].count(name) + 1}" if name in names[:number] else name
        for number, name in enumerate(names)
    )


def _mean(values: Sequence[float | None], unit: float = 1) -> float | None:
    """Return the mean of the values that are not None, divided by ``unit``; None if all values are None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) / unit if known else None

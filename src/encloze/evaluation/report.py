"""The evaluation of several systems on one split: measures with confidence intervals and significance tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np

from encloze.data.counts import DatasetCounts
from encloze.data.records import Judgments
from encloze.data.runs import read_run, write_run
from encloze.escapes import markdown
from encloze.evaluation.estimates import estimate
from encloze.evaluation.latency import LATENCY_NOTE, latency_columns, latency_values
from encloze.evaluation.measures import DEFAULT_MEASURES, canonical_name, compute_measures
from encloze.evaluation.results import SIZES, SystemResult
from encloze.evaluation.significance import bootstrap, holm, randomization_test
from encloze.intervals import Interval, SavedInterval
from encloze.storage.file_names import file_names
from encloze.storage.integrity import check_if_result
from encloze.storage.json_files import explain_damage, read_json, write_json
from encloze.tables import Column, Kind, Table, notebook_html


class _SavedDifference(SavedInterval):
    p_holm: float


class _SavedSystem(TypedDict):
    name: str
    measures: dict[str, SavedInterval]
    milliseconds_per_query: float | None
    latency: NotRequired[dict[str, float]]
    note: str
    index_bytes: NotRequired[int | None]
    model_bytes: NotRequired[int | None]
    memory_bytes: NotRequired[int | None]
    against_baseline: NotRequired[_SavedDifference | None]


class SavedReport(TypedDict):
    """Content of ``report.json``."""

    dataset: str
    split: str
    systems: list[_SavedSystem]
    seed: NotRequired[int]
    data: NotRequired[DatasetCounts | None]


@dataclass(frozen=True)
class BaselineDifference:
    """Difference between one system and the baseline (the first system) in the first measure of the report."""

    system: str
    difference: Interval
    """Mean over queries of (system's value - baseline's value), with its 95 % confidence interval."""
    p_value: float
    """P-value of the paired randomization test, Holm-corrected for all comparisons with the baseline."""


@dataclass(frozen=True)
class Report:
    """Evaluation of several systems on the queries of one split. The first system is the baseline.

    ``evaluate_runs`` and ``encloze.evaluate`` return it.

    Args:
        dataset: Path or name of the data set.
        split: Name of the split.
        measures: Names of the measures in the notation of ir-measures. Systems are compared by the first one.
        queries: Ids of the queries.
        systems: Results of the systems, each with its values of every measure.
        differences: For each system after the first one, its difference from the first one in the first measure.
        seed: Seed of the bootstrap and of the randomization tests.
        counts: Numbers of queries, judgments and documents of the data set, if known.

    Example:
        >>> from encloze.evaluation.results import SystemResult
        >>> judgments, run = {"q1": {"d1": 1}, "q2": {"d2": 1}}, {"q1": {"d1": 2.0}, "q2": {"d1": 1.0}}
        >>> report = evaluate_runs("toy", "test", judgments, [SystemResult("mine", run)], ["P@1"])
        >>> report.means["mine"]["P@1"].mean
        0.5
    """

    dataset: str
    split: str
    measures: tuple[str, ...]
    queries: tuple[str, ...]
    systems: tuple[SystemResult, ...]
    differences: tuple[BaselineDifference, ...] = ()
    seed: int = 0
    counts: DatasetCounts | None = None

    @cached_property
    def means(self) -> dict[str, dict[str, Interval]]:
        """Mean over queries with its 95 % bootstrap interval, as ``means[system][measure]``."""
        return {
            system.name: {name: bootstrap(system.values[name], seed=self.seed) for name in self.measures}
            for system in self.systems
        }

    @property
    def title(self) -> str:
        """Title of the table: data set, split, number of queries, and the kind of confidence intervals."""
        size = self.counts.size_suffix() if self.counts else ""
        return f"{self.dataset}, {self.split}: {len(self.queries):,} queries{size}, means with 95 % bootstrap intervals"

    @property
    def notes(self) -> list[str]:
        """Remarks about the data set (such as judged documents missing from the corpus), then about the systems."""
        warnings = self.counts.warnings() if self.counts else []
        timed = [LATENCY_NOTE] if any(system.latency for system in self.systems) else []
        return warnings + [f"{system.name}: {system.note}" for system in self.systems if system.note] + timed

    def table(self) -> Table:
        """Return the table, one row per system: measures, difference from the baseline, p-value, and measured costs."""
        differences = {one.system: one for one in self.differences}
        columns = (
            Column("system"),
            *(Column(name, Kind.MEASURE) for name in self.measures),
            Column(f"{self.measures[0]} - {self.systems[0].name}", Kind.DIFFERENCE),
            Column("p (Holm)", Kind.P_VALUE),
            Column("ms/query (batched)", Kind.MILLISECONDS),
            *latency_columns(),
            Column("memory MiB", Kind.MEBIBYTES),
        )
        rows = []
        for system in self.systems:
            other = differences.get(system.name)
            memory = None if system.memory_bytes is None else system.memory_bytes / 2**20
            comparison = (other.difference, other.p_value) if other else (None, None)
            means = self.means[system.name].values()
            times = system.milliseconds_per_query, *latency_values(system.latency)
            rows.append((system.name, *means, *comparison, *times, memory))
        table = Table(self.title, columns, tuple(rows))
        costs = [
            name
            for name in table.names[-2 - len(latency_columns()) :]
            if not any(value is not None for value in table.values(name))
        ]
        return table.without_columns(*costs)

    def tables(self) -> list[Table]:
        """Return the tables of the report: a list that contains only ``table()``."""
        return [self.table()]

    def to_markdown(self) -> str:
        """Return the table and the notes in Markdown."""
        return (
            "\n".join(
                [
                    f"{markdown(self.title)}.",
                    "",
                    self.table().to_markdown(),
                    "",
                    *(f"- {markdown(n)}" for n in self.notes),
                ]
            )
            + "\n"
        )

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame`` with one row for each system.

        The two bounds of an interval are separate columns, such as ``nDCG@10 low`` and ``nDCG@10 high``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return self.table().to_pandas()

    def _repr_html_(self) -> str:
        """Return the report as HTML, which Jupyter notebooks display."""
        return notebook_html(self.tables(), self.notes)

    def to_dict(self) -> dict[str, object]:
        """Return the content of ``report.json``: means, intervals, p-values and costs as JSON values."""
        differences = {one.system: one for one in self.differences}
        systems = []
        for system in self.systems:
            entry: dict[str, object] = {"name": system.name}
            entry["measures"] = {name: mean._asdict() for name, mean in self.means[system.name].items()}
            entry |= {"milliseconds_per_query": system.milliseconds_per_query, "note": system.note}
            entry |= {"latency": dict(system.latency), **{name: getattr(system, name) for name in SIZES}}
            if other := differences.get(system.name):
                entry["against_baseline"] = {**other.difference._asdict(), "p_holm": other.p_value}
            systems.append(entry)
        head = {"dataset": self.dataset, "split": self.split, "queries": len(self.queries), "seed": self.seed}
        return {**head, "data": self.counts and self.counts._asdict(), "systems": systems}

    def save(self, folder: Path) -> None:
        """Write the report into an existing folder.

        Args:
            folder: Receives ``report.json``, ``report.md``, ``per_query.tsv`` with the value of each query, and the
                ranking of each system as the TREC run ``runs/SYSTEM.trec``.
        """
        (folder / "report.md").write_text(self.to_markdown(), encoding="utf-8")
        write_json(folder / "report.json", self.to_dict())
        (folder / "runs").mkdir()
        for system, name in zip(self.systems, file_names([system.name for system in self.systems]), strict=True):
            write_run(folder / "runs" / f"{name}.trec", system.run, name)
        with (folder / "per_query.tsv").open("w", encoding="utf-8") as stream:
            columns = [(system, name) for system in self.systems for name in self.measures]
            stream.write("\t".join(["query", *(f"{system.name} {name}" for system, name in columns)]) + "\n")
            for number, query in enumerate(self.queries):
                values = (f"{system.values[name][number]:.6f}" for system, name in columns)
                stream.write("\t".join([query, *values]) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Report:
        """Return the report that ``save`` wrote. Its per-query values are rounded to six decimals.

        Args:
            folder: Folder with ``report.json``, ``per_query.tsv`` and ``runs``.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        check_if_result(folder)
        content: SavedReport = read_json(folder / "report.json", SavedReport)
        entries, table = content["systems"], folder / "per_query.tsv"
        with explain_damage(table):
            measures = tuple(entries[0]["measures"])
            _, *rows = (line.split("\t") for line in table.read_text("utf-8").rstrip("\n").split("\n"))
            values = np.array([[float(cell) for cell in row[1:]] for row in rows]).reshape(
                len(rows), len(measures) * len(entries)
            )
        names = file_names([entry["name"] for entry in entries])
        systems, differences = [], []
        for number, (entry, name) in enumerate(zip(entries, names, strict=True)):
            columns = values[:, number * len(measures) : (number + 1) * len(measures)].T
            run = read_run(folder / "runs" / f"{name}.trec", may_be_empty=True)
            result = SystemResult(
                name=entry["name"],
                run=run,
                milliseconds_per_query=entry["milliseconds_per_query"],
                latency=entry.get("latency") or {},
                note=entry["note"],
                values=dict(zip(measures, columns, strict=True)),
                index_bytes=entry.get("index_bytes"),
                model_bytes=entry.get("model_bytes"),
                memory_bytes=entry.get("memory_bytes"),
            )
            systems.append(result)
            if other := entry.get("against_baseline"):
                differences.append(BaselineDifference(entry["name"], Interval.from_dict(other), other["p_holm"]))
        return cls(
            content["dataset"],
            content["split"],
            measures,
            tuple(row[0] for row in rows),
            tuple(systems),
            tuple(differences),
            content.get("seed", 0),
            DatasetCounts.from_dict(cast("dict[str, Any] | None", content.get("data"))),
        )


def evaluate_runs(
    dataset: str,
    split: str,
    judgments: Judgments,
    results: Sequence[SystemResult],
    measures: Sequence[str] = DEFAULT_MEASURES,
    seed: int = 0,
    counts: DatasetCounts | None = None,
) -> Report:
    """Evaluate the rankings of several systems. The first one is the baseline.

    Args:
        dataset: Path or name of the data set, for the title.
        split: Name of the split, for the title.
        judgments: Grade of each judged document by query id and document id.
        results: Rankings of the systems, for example ``SystemResult("mine", read_run(path))``.
        measures: Names of measures, such as ``nDCG@10`` or ``mrr@10``. Systems are compared by the first one.
        seed: Seed of the bootstrap and of the randomization tests.
        counts: Numbers of queries, judgments and documents of the data set, if known.

    Returns:
        The report, which also contains the value of each measure for every query.

    Raises:
        ValueError: A measure is unknown.

    Example:
        >>> judgments, run = {"q1": {"d1": 1}}, {"q1": {"d1": 2.0, "d2": 1.0}}
        >>> evaluate_runs("toy", "test", judgments, [SystemResult("mine", run)], ["RR@10"]).measures
        ('RR@10',)
    """
    names = tuple(dict.fromkeys(canonical_name(name) for name in measures))
    systems = [
        replace(result, values=compute_measures(result.run, judgments, names), corpus=None) for result in results
    ]
    baseline = systems[0].values[names[0]]
    p_values = holm([randomization_test(system.values[names[0]], baseline, seed=seed) for system in systems[1:]])
    differences = [
        BaselineDifference(system.name, estimate([system.values[names[0]] - baseline]).interval(), p_value)
        for system, p_value in zip(systems[1:], p_values, strict=True)
    ]
    return Report(dataset, split, names, tuple(judgments), tuple(systems), tuple(differences), seed, counts)

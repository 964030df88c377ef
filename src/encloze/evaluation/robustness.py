"""Robustness report: how much retrieval quality drops under perturbations of queries and documents."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze.data.counts import DatasetCounts
from encloze.data.records import Query
from encloze.escapes import markdown
from encloze.evaluation.estimates import estimate, welch_difference
from encloze.evaluation.significance import bootstrap
from encloze.evaluation.slices import Slice
from encloze.intervals import Interval
from encloze.storage.file_names import file_names
from encloze.storage.json_files import write_json
from encloze.tables import Column, Kind, Table, notebook_html, quote

ROBUSTNESS_FILE = "robustness.json"
_NUM_QUERIES = 5  # queries listed for each system and perturbation


class AppliedPerturbation(NamedTuple):
    """A perturbation that was applied to the queries or documents, and the resulting query texts."""

    name: str
    """Name of the perturbation, followed by the settings that differ from their defaults."""
    texts: tuple[str, ...]
    """Text of each query after the perturbation; unchanged if the perturbation applies to documents."""
    changed: tuple[bool, ...]
    """For each query, whether the perturbation changed its text or one of its relevant documents."""


@dataclass(frozen=True)
class SystemRobustness:
    """Value of the measure for each query, without and with perturbations, for one system.

    Args:
        name: Name of the system.
        clean: Values without perturbations, float64 of shape (queries,).
        values: Values with each perturbation, float64 of shape (queries,), keyed by the name of the perturbation.
        note: Remark about the system, shown below tables.
        other_datasets: Values without perturbations for the queries of further data sets: one float64 array for each
            data set, keyed by its name.
    """

    name: str
    clean: np.ndarray
    values: dict[str, np.ndarray]
    note: str = ""
    other_datasets: dict[str, np.ndarray] = field(default_factory=dict)


class SliceResult(NamedTuple):
    """Means of the measure for one system inside and outside a slice of the queries, without perturbations."""

    slice: str
    queries: int
    """Number of queries in the slice."""
    system: str
    inside: Interval
    rest: Interval
    difference: Interval
    """Mean over the queries inside the slice minus mean over the queries outside the slice."""


class Drop(NamedTuple):
    """Drop of the mean of the measure that one perturbation causes for one system."""

    system: str
    perturbation: str
    clean: float
    """Mean of the measure on the original queries and documents."""
    perturbed: float
    """Mean of the measure on the perturbed queries or documents."""
    drop: Interval
    """Mean over queries of (value without the perturbation - value with it), with its confidence interval."""
    degraded: float
    """Fraction of the queries whose value is lower with the perturbation than without it."""


class DegradedQuery(NamedTuple):
    """Query for which the measure is lower with a perturbation than without."""

    query: str
    """Id of the query."""
    original_text: str
    perturbed_text: str
    clean: float
    """Value of the measure without the perturbation."""
    perturbed: float
    """Value of the measure with the perturbation."""
    perturbation: str

    @property
    def change(self) -> float:
        """Value of the measure with the perturbation minus its value without the perturbation; always below 0."""
        return self.perturbed - self.clean


@dataclass(frozen=True)
class RobustnessReport:
    """One measure of several systems on the queries of a split, without and with perturbations.

    Args:
        dataset: Path or name of the data set.
        split: Name of the split.
        measure: Name of the measure.
        queries: The original queries.
        perturbations: The perturbations in the order of the report.
        systems: Values of each system.
        slices: Named subsets of the queries; the means of each subset are also reported.
        seed: Seed of the bootstrap samples.
        counts: Numbers of queries, judgments and documents of the data set, if known.
    """

    dataset: str
    split: str
    measure: str
    queries: tuple[Query, ...]
    perturbations: tuple[AppliedPerturbation, ...]
    systems: tuple[SystemRobustness, ...]
    slices: tuple[Slice, ...] = ()
    seed: int = 0
    counts: DatasetCounts | None = None

    @cached_property
    def drops(self) -> list[Drop]:
        """Drop of the mean for each system and each perturbation.

        Intervals are based on Student's t: most differences are 0, so bootstrap intervals would be too narrow.
        """
        return [
            Drop(
                system.name,
                name,
                float(system.clean.mean()),
                float(values.mean()),
                estimate([system.clean - values]).interval(),
                float((values < system.clean).mean()),
            )
            for system in self.systems
            for name, values in system.values.items()
        ]

    @cached_property
    def slice_results(self) -> list[SliceResult]:
        """Means of each system for each slice and for each other data set.

        The queries of a slice are compared with the queries outside the slice. The queries of another data set are
        compared with all queries of this report.
        """
        contrasts = [
            (one.name, system.name, system.clean[one.inside], system.clean[one.rest])
            for one in self.slices
            for system in self.systems
        ]
        contrasts += [
            (f"other data set: {name}", system.name, system.other_datasets[name], system.clean)
            for name in self.systems[0].other_datasets
            for system in self.systems
        ]
        return [
            SliceResult(
                name,
                len(inside),
                system,
                bootstrap(inside, seed=self.seed),
                bootstrap(rest, seed=self.seed),
                welch_difference(inside, rest).interval(),
            )
            for name, system, inside, rest in contrasts
        ]

    def most_degraded(
        self, system: SystemRobustness, perturbation: str | None = None, count: int = _NUM_QUERIES
    ) -> list[DegradedQuery]:
        """Return the queries for which the measure drops most for one system.

        Args:
            system: One of ``systems``.
            perturbation: Name of a perturbation. By default, the one with the largest drop is chosen for each query.
            count: Maximum number of queries.
        """
        degraded = [
            DegradedQuery(query.id, query.text, one.texts[number], float(clean), float(values[number]), one.name)
            for one in self.perturbations
            if perturbation in (None, one.name)
            for values in [system.values[one.name]]
            for number, (query, clean) in enumerate(zip(self.queries, system.clean, strict=True))
            if values[number] < clean
        ]
        return select_most_degraded(degraded, count)

    @property
    def title(self) -> str:
        """Title of the table of drops: data set, split, number of queries and measure."""
        size = self.counts.size_suffix() if self.counts else ""
        queries = f"{len(self.queries):,} queries{size}"
        return f"{self.dataset}, {self.split}: {queries}, {self.measure}, drops with 95 % intervals"

    @property
    def notes(self) -> list[str]:
        """Remarks about the data set (such as judged documents missing from the corpus), then about the systems."""
        warnings = self.counts.warnings() if self.counts else []
        return warnings + [f"{system.name}: {system.note}" for system in self.systems if system.note]

    def table(self) -> Table:
        """Return the table of drops, with one row for each system and perturbation."""
        changed = {one.name: float(np.mean(one.changed)) for one in self.perturbations}
        columns = (
            Column("system", is_grouping=True),
            Column("perturbation"),
            Column("changed", Kind.SHARE),
            Column("clean", Kind.MEASURE),
            Column("perturbed", Kind.MEASURE),
            Column("drop", Kind.DIFFERENCE),
            Column("queries degraded", Kind.SHARE),
        )
        rows = ((one.system, one.perturbation, changed[one.perturbation], *one[2:]) for one in self.drops)
        return Table(self.title, columns, tuple(rows))

    def slice_table(self) -> Table:
        """Return the table of slices and other data sets, with one row for each of them and each system."""
        columns = (
            Column("slice", is_grouping=True),
            Column("queries", Kind.COUNT, is_grouping=True),
            Column("system"),
            Column("in slice", Kind.MEASURE),
            Column("rest", Kind.MEASURE),
            Column("difference", Kind.DIFFERENCE),
        )
        title = f"Slices: {self.measure} without perturbation, with 95 % intervals"
        return Table(title, columns, tuple(tuple(result) for result in self.slice_results))

    def tables(self) -> list[Table]:
        """Return the table of drops and, if there are slices or other data sets, the table of slices."""
        return [self.table(), *([self.slice_table()] if self.slice_results else [])]

    def to_markdown(self) -> str:
        """Return the report in Markdown: tables, notes, and the most degraded queries per system and perturbation."""
        lines = [f"{markdown(self.title)}.", "", self.table().to_markdown(), ""]
        lines += [f"- {markdown(note)}" for note in self.notes]
        if self.slice_results:
            table = self.slice_table()
            lines += ["", f"{markdown(table.title)}:", "", table.to_markdown(), ""]
        for system in filter(self.most_degraded, self.systems):
            lines += ["", f"{markdown(system.name)}, most degraded queries:", ""]
            for one in self.perturbations:
                if queries := self.most_degraded(system, one.name):
                    lines += [f"- {one.name}", *(f"  - {markdown(_summary(query))}" for query in queries)]
        return "\n".join(lines) + "\n"

    def to_pandas(self) -> Any:
        """Return the table of drops as a ``pandas.DataFrame``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return self.table().to_pandas()

    def _repr_html_(self) -> str:
        """Return the report as HTML, which Jupyter notebooks display."""
        return notebook_html(self.tables(), self.notes)

    def to_dict(self) -> dict[str, object]:
        """Return the content of ``robustness.json``: drops, slices and notes as JSON values."""
        intervals = ("inside", "rest", "difference")
        return {
            "dataset": self.dataset,
            "split": self.split,
            "measure": self.measure,
            "queries": len(self.queries),
            "data": self.counts and self.counts._asdict(),
            "changed": {one.name: float(np.mean(one.changed)) for one in self.perturbations},
            "drops": [one._asdict() | {"drop": one.drop._asdict()} for one in self.drops],
            "slices": [
                one._asdict() | {name: getattr(one, name)._asdict() for name in intervals} for one in self.slice_results
            ],
            "notes": self.notes,
        }

    def save(self, folder: Path) -> None:
        """Write the report into an existing folder.

        Args:
            folder: Receives ``robustness.json``, ``robustness.md``, and for each perturbation
                ``per_query-PERTURBATION.tsv`` with the texts of all queries and their values of the measure.
        """
        (folder / "robustness.md").write_text(self.to_markdown(), encoding="utf-8")
        write_json(folder / ROBUSTNESS_FILE, self.to_dict())
        names = per_query_files([one.name for one in self.perturbations])
        for one, name in zip(self.perturbations, names, strict=True):
            with (folder / name).open("w", encoding="utf-8") as stream:
                for row in self._per_query_rows(one):
                    stream.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")

    def _per_query_rows(self, one: AppliedPerturbation) -> Iterator[Sequence[str]]:
        names = (f"{system.name} {side}" for system in self.systems for side in ("clean", "perturbed"))
        yield ["query", "original text", "perturbed text", *names]
        for number, query in enumerate(self.queries):
            pairs = ((system.clean[number], system.values[one.name][number]) for system in self.systems)
            yield [query.id, query.text, one.texts[number], *(f"{value:.6f}" for pair in pairs for value in pair)]


def select_most_degraded(queries: Iterable[DegradedQuery], count: int = _NUM_QUERIES) -> list[DegradedQuery]:
    """Return the queries for which the measure drops most, each query once.

    Each query is returned with the perturbation that causes its largest drop. If several perturbations cause this drop,
    the one that occurs least often in the list so far is chosen, so that the list is varied.

    Args:
        queries: Degraded queries; the same query may occur once for each perturbation.
        count: Maximum number of queries.
    """
    by_query = dict[str, list[DegradedQuery]]()
    for one in sorted(queries, key=lambda one: one.change):
        by_query.setdefault(one.query, []).append(one)
    selected, listed = list[DegradedQuery](), Counter[str]()
    for first, *others in itertools.islice(by_query.values(), count):
        ties = [first, *(one for one in others if one.change == first.change)]
        selected.append(min(ties, key=lambda one: listed[one.perturbation]))
        listed[selected[-1].perturbation] += 1
    return selected


def per_query_files(perturbations: Sequence[str]) -> list[str]:
    """Return the names of the files with the results of each query. There is one file for each perturbation."""
    return [f"per_query-{name}.tsv" for name in file_names(perturbations)]


def _summary(one: DegradedQuery) -> str:
    original, perturbed = (" ".join(text.split()) for text in (one.original_text, one.perturbed_text))
    texts = quote(original) if original == perturbed else f"{quote(original)} as {quote(perturbed)}"
    return f"{one.clean:.4f} to {one.perturbed:.4f}: {texts} ({one.query})"

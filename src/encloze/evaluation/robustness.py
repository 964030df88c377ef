"""What systems lose under perturbations, as values: the robustness card."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze.data.counts import Counts
from encloze.data.records import Query
from encloze.evaluation.estimates import difference, estimate
from encloze.evaluation.report import file_names, markdown_table, quoted
from encloze.evaluation.significance import bootstrap
from encloze.evaluation.slices import Slice
from encloze.intervals import Interval
from encloze.storage.json_files import write_json

_WORST = 5  # queries listed for a system under a perturbation


class AppliedPerturbation(NamedTuple):
    """What is done to a data set, and how each of its queries is asked then."""

    name: str
    texts: tuple[str, ...]
    """As they are where it is the documents that change."""
    changed: tuple[bool, ...]
    """Whether each query, or a document that it asks for, differs."""


@dataclass(frozen=True)
class SystemRobustness:
    """A system with the values of each query: as it is asked, and under each perturbation."""

    name: str
    clean: np.ndarray
    """float64, queries."""
    values: dict[str, np.ndarray]
    """float64, queries, by perturbation."""
    note: str = ""
    elsewhere: dict[str, np.ndarray] = field(default_factory=dict)
    """float64, queries of another data set, by its name."""


class SliceResult(NamedTuple):
    """How a system does on some queries as they are asked, and on the others."""

    slice: str
    queries: int
    system: str
    inside: Interval
    rest: Interval
    difference: Interval
    """Inside less the rest: below 0 they are harder for it."""


class Drop(NamedTuple):
    """What a perturbation costs a system."""

    system: str
    perturbation: str
    clean: float
    perturbed: float
    loss: Interval
    """Clean less perturbed, query by query; above 0 is harm."""
    worse: float
    """The share of the queries whose value fell."""


class DegradedQuery(NamedTuple):
    """A query that a system answers less well under a perturbation."""

    query: str
    before: str
    after: str
    clean: float
    perturbed: float
    perturbation: str


@dataclass(frozen=True)
class RobustnessReport:
    """Several systems on the queries of one split under several perturbations, by one measure."""

    dataset: str
    split: str
    measure: str
    queries: tuple[Query, ...]
    perturbations: tuple[AppliedPerturbation, ...]
    systems: tuple[SystemRobustness, ...]
    slices: tuple[Slice, ...] = ()
    seed: int = 0
    """What the intervals are drawn from."""
    counts: Counts | None = None
    """What the data set holds."""

    @cached_property
    def losses(self) -> list[Drop]:
        """What each perturbation costs each system."""
        return [
            Drop(
                system.name,
                name,
                float(system.clean.mean()),
                float(values.mean()),
                estimate([system.clean - values]).interval(),  # most losses are 0: a bootstrap is too sure of them
                float((values < system.clean).mean()),
            )
            for system in self.systems
            for name, values in system.values.items()
        ]

    @cached_property
    def sliced(self) -> list[SliceResult]:
        """Each system on each slice, and on the queries of each other data set against all of this one."""
        found = [
            (some.name, system, system.clean[some.inside], system.clean[some.rest])
            for some in self.slices
            for system in self.systems
        ]
        found += [
            (f"another data set: {name}", system, system.elsewhere[name], system.clean)
            for name in self.systems[0].elsewhere
            for system in self.systems
        ]
        return [
            SliceResult(
                name,
                len(inside),
                system.name,
                bootstrap(inside, seed=self.seed),
                bootstrap(rest, seed=self.seed),
                difference(inside, rest).interval(),
            )
            for name, system, inside, rest in found
        ]

    def worst(
        self, system: SystemRobustness, perturbation: str | None = None, count: int = _WORST
    ) -> list[DegradedQuery]:
        """The queries that lose most under a perturbation, or each under its worst one; fewer where fewer lose any."""
        named = [one for one in self.perturbations if perturbation in (None, one.name)]
        fallen = [
            DegradedQuery(
                query.id, query.text, one.texts[at], float(clean), float(system.values[one.name][at]), one.name
            )
            for one in named
            for at, (query, clean) in enumerate(zip(self.queries, system.clean, strict=True))
            if system.values[one.name][at] < clean
        ]
        return worst_of(fallen, count)

    def rows(self) -> list[list[str]]:
        """The table as text: a header, then a row for each system under each perturbation."""
        table = [["system", "perturbation", "changed", "clean", "perturbed", "loss", "queries worse"]]
        changed = {one.name: f"{np.mean(one.changed):.0%}" for one in self.perturbations}
        for one in self.losses:
            loss = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*one.loss)
            figures = [f"{one.clean:.4f}", f"{one.perturbed:.4f}", loss, f"{one.worse:.0%}"]
            table.append([one.system, one.perturbation, changed[one.perturbation], *figures])
        return table

    def slice_rows(self) -> list[list[str]]:
        """The slices as text: a header, then a row for each slice and system: its means in it and outside."""
        table = [["slice", "queries", "system", "in it", "rest", "difference"]]
        for one in self.sliced:
            means = ("{:.4f} [{:.4f}, {:.4f}]".format(*mean) for mean in (one.inside, one.rest))
            gap = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*one.difference)
            table.append([one.slice, f"{one.queries:,}", one.system, *means, gap])
        return table

    def title(self) -> str:
        size = self.counts.size() if self.counts else ""
        asked = f"{self.dataset}, {self.split}: {len(self.queries):,} queries{size}, {self.measure}"
        return f"{asked}, losses and means with 95 % intervals"

    @property
    def notes(self) -> list[str]:
        """What does not fit together in the data set, and what systems say of themselves."""
        told = self.counts.told() if self.counts else []
        return told + [f"{system.name}: {system.note}" for system in self.systems if system.note]

    def markdown(self) -> str:
        """The tables, and for each system under each perturbation the queries that lost most."""
        lines = [f"{self.title()}.", "", *markdown_table(self.rows()), ""]
        lines += [f"- {note}" for note in self.notes]
        if self.sliced:
            lines += ["", f"Slices, {self.measure} as asked:", "", *markdown_table(self.slice_rows()), ""]
        for system in filter(self.worst, self.systems):
            lines += ["", f"{system.name}, the queries that lost most:", ""]
            for one in self.perturbations:
                if fallen := self.worst(system, one.name):
                    lines += [f"- {one.name}", *(f"  - {line}" for line in map(_line, fallen))]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """Write card.json, card.md, and for each perturbation per_query-HARDSHIP.tsv with the texts."""
        (folder / "robustness.md").write_text(self.markdown(), encoding="utf-8")
        write_json(folder / "robustness.json", self.figures())
        for one, name in zip(
            self.perturbations, per_query_files([one.name for one in self.perturbations]), strict=True
        ):
            with (folder / name).open("w", encoding="utf-8") as stream:
                for row in self._per_query(one):
                    stream.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")

    def figures(self) -> dict[str, object]:
        """The card as plain values."""
        losses = [one._asdict() | {"loss": one.loss._asdict()} for one in self.losses]
        intervals = ("inside", "rest", "difference")
        of_slices = [one._asdict() | {name: getattr(one, name)._asdict() for name in intervals} for one in self.sliced]
        return {
            "dataset": self.dataset,
            "split": self.split,
            "measure": self.measure,
            "queries": len(self.queries),
            "data": self.counts and self.counts._asdict(),
            "changed": {one.name: float(np.mean(one.changed)) for one in self.perturbations},
            "losses": losses,
            "slices": of_slices,
            "notes": self.notes,
        }

    def _per_query(self, one: AppliedPerturbation) -> Iterator[Sequence[str]]:
        names = (f"{system.name} {side}" for system in self.systems for side in ("clean", "perturbed"))
        yield ["query", "before", "after", *names]
        for at, query in enumerate(self.queries):
            pairs = ((system.clean[at], system.values[one.name][at]) for system in self.systems)
            yield [query.id, query.text, one.texts[at], *(f"{value:.6f}" for pair in pairs for value in pair)]


def worst_of(fallen: Iterable[DegradedQuery], count: int = _WORST) -> list[DegradedQuery]:
    """The queries that lose most, each once, under perturbations as various as equal losses allow."""
    by_query = dict[str, list[DegradedQuery]]()
    for one in sorted(fallen, key=lambda one: one.perturbed - one.clean):
        by_query.setdefault(one.query, []).append(one)
    found, shown = list[DegradedQuery](), Counter[str]()
    for first, *others in itertools.islice(by_query.values(), count):
        equal = [first, *(one for one in others if one.perturbed - one.clean == first.perturbed - first.clean)]
        found.append(min(equal, key=lambda one: shown[one.perturbation]))
        shown[found[-1].perturbation] += 1
    return found


def per_query_files(perturbations: Sequence[str]) -> list[str]:
    """The file of each perturbation."""
    return [f"per_query-{name}.tsv" for name in file_names(perturbations)]


def _line(fallen: DegradedQuery) -> str:
    before, after = (" ".join(text.split()) for text in (fallen.before, fallen.after))
    words = quoted(before) if before == after else f"{quoted(before)} as {quoted(after)}"
    return f"{fallen.clean:.4f} to {fallen.perturbed:.4f}: {words} ({fallen.query})"

"""What an evaluation found, as values: systems by measures, with intervals, against a baseline."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze.data.counts import Counts
from encloze.data.records import Judgments, Run
from encloze.data.runs import read_run, write_run
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import DEFAULT, canonical, measure
from encloze.evaluation.significance import bootstrap, holm, randomization_test
from encloze.intervals import Interval
from encloze.storage.hashes import hash_of
from encloze.storage.json_files import read_json, write_json

_LONGEST_NAME = 120  # bytes: file systems take 255, with what is put before and behind


SIZES = ("index_bytes", "model_bytes", "memory_bytes")
"""What a system takes: on the disk, in weights, in memory."""


class Judged(NamedTuple):
    """A run to be judged, under its system's name."""

    system: str
    run: Run
    milliseconds: float | None = None
    note: str = ""
    index_bytes: int | None = None
    model_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class SystemResult:
    """One system: its run, the measures of each query, and what it took."""

    name: str
    run: Run
    values: dict[str, np.ndarray]
    milliseconds: float | None = None
    """Search time for a query, where the system was run here (encoding the query included)."""
    note: str = ""
    index_bytes: int | None = None
    """What its index takes on the disk, without the documents' texts."""
    model_bytes: int | None = None
    """What the weights of its models take."""
    memory_bytes: int | None = None
    """What a process of its own holds while it searches, Python's own included, mapped files not."""


@dataclass(frozen=True)
class Comparison:
    """A system against the baseline, by the first measure."""

    system: str
    difference: Interval
    p_value: float
    """Paired randomisation test, corrected by Holm for all comparisons of the report."""


@dataclass(frozen=True)
class Report:
    """Several systems on the queries of one split. The first system is the baseline."""

    dataset: str
    split: str
    measures: tuple[str, ...]
    queries: tuple[str, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...] = ()
    seed: int = 0
    """What the intervals are drawn from."""
    counts: Counts | None = None
    """What the data set holds."""

    @cached_property
    def means(self) -> dict[str, dict[str, Interval]]:
        """Each system's mean of each measure."""
        return {
            system.name: {name: bootstrap(system.values[name], seed=self.seed) for name in self.measures}
            for system in self.systems
        }

    def rows(self) -> list[list[str]]:
        """The table as text: a header, then a row for each system."""
        timed = any(system.milliseconds is not None for system in self.systems)
        head = ["system", *self.measures, f"{self.measures[0]} - {self.systems[0].name}", "p (Holm)"]
        against = {comparison.system: comparison for comparison in self.comparisons}
        weighed = any(system.memory_bytes is not None for system in self.systems)
        table = [head + ["ms/query"] * timed + ["memory MiB"] * weighed]
        for system in self.systems:
            cells = [f"{mean:.4f} [{low:.4f}, {high:.4f}]" for mean, low, high in self.means[system.name].values()]
            other = against.get(system.name)
            change = "" if other is None else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*other.difference)
            time = "" if system.milliseconds is None else f"{system.milliseconds:.1f}"
            p_value = "" if other is None else f"{other.p_value:.4f}"
            memory = "" if system.memory_bytes is None else f"{system.memory_bytes / 2**20:.1f}"
            table.append([system.name, *cells, change, p_value] + [time] * timed + [memory] * weighed)
        return table

    def title(self) -> str:
        size = self.counts.size() if self.counts else ""
        return f"{self.dataset}, {self.split}: {len(self.queries):,} queries{size}, means with 95 % bootstrap intervals"

    @property
    def notes(self) -> list[str]:
        """What does not fit together in the data set, and what systems say of themselves."""
        told = self.counts.told() if self.counts else []
        return told + [f"{system.name}: {system.note}" for system in self.systems if system.note]

    def markdown(self) -> str:
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"{self.title()}.", "", *markdown_table(self.rows()), "", *notes]) + "\n"

    def save(self, folder: Path) -> None:
        """Write report.json, report.md, per_query.tsv and the runs."""
        (folder / "report.md").write_text(self.markdown(), encoding="utf-8")
        write_json(folder / "report.json", self.figures())
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
        """The report that ``save`` wrote; values of queries have six digits."""
        said = read_json(folder / "report.json")
        _, *rows = (line.split("\t") for line in (folder / "per_query.tsv").read_text("utf-8").rstrip("\n").split("\n"))
        measures, names = tuple(said["systems"][0]["measures"]), file_names([s["name"] for s in said["systems"]])
        columns = np.array([[float(cell) for cell in row[1:]] for row in rows]).reshape(len(rows), -1)
        systems, comparisons = [], []
        for number, entry in enumerate(said["systems"]):
            own = columns[:, number * len(measures) : (number + 1) * len(measures)].T
            values = dict(zip(measures, own, strict=True))
            run = read_run(folder / "runs" / f"{names[number]}.trec", may_be_empty=True)  # of what found nothing
            sizes = (entry.get(name) for name in SIZES)
            took, note = entry["milliseconds_per_query"], entry["note"]
            systems.append(SystemResult(entry["name"], run, values, took, note, *sizes))
            if other := entry.get("against_baseline"):
                comparisons.append(Comparison(entry["name"], Interval.from_dict(other), other["p_holm"]))
        queries, seed = tuple(row[0] for row in rows), said.get("seed", 0)
        counts = Counts.read(said.get("data"))
        return cls(said["dataset"], said["split"], measures, queries, tuple(systems), tuple(comparisons), seed, counts)

    def figures(self) -> dict[str, object]:
        """The report as plain values."""
        against = {comparison.system: comparison for comparison in self.comparisons}
        systems = []
        for system in self.systems:
            entry: dict[str, object] = {"name": system.name}
            entry["measures"] = {name: mean._asdict() for name, mean in self.means[system.name].items()}
            entry |= {"milliseconds_per_query": system.milliseconds, "note": system.note}
            entry |= {name: getattr(system, name) for name in SIZES}
            if other := against.get(system.name):
                entry["against_baseline"] = {**other.difference._asdict(), "p_holm": other.p_value}
            systems.append(entry)
        of_what = {"dataset": self.dataset, "split": self.split, "queries": len(self.queries), "seed": self.seed}
        return {**of_what, "data": self.counts and self.counts._asdict(), "systems": systems}


def judge(
    dataset: str,
    split: str,
    judgments: Judgments,
    runs: Sequence[Judged],
    measures: Sequence[str] = DEFAULT,
    seed: int = 0,
    counts: Counts | None = None,
) -> Report:
    """Measure runs; the first is the baseline. ``seed`` draws the intervals and tests."""
    names = tuple(dict.fromkeys(canonical(name) for name in measures))
    systems = [
        SystemResult(given.system, given.run, measure(given.run, judgments, names), *given[2:]) for given in runs
    ]
    first = systems[0].values[names[0]]
    p_values = holm([randomization_test(system.values[names[0]], first, seed=seed) for system in systems[1:]])
    comparisons = [
        Comparison(system.name, estimate([system.values[names[0]] - first]).interval(), p_value)
        for system, p_value in zip(systems[1:], p_values, strict=True)
    ]
    return Report(dataset, split, names, tuple(judgments), tuple(systems), tuple(comparisons), seed, counts)


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown; the first row is its head."""
    head, *rest = ([cell.replace("|", r"\|") for cell in row] for row in rows)
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest)]


def quoted(text: str) -> str:
    """A text in quotation marks, whose direction does not run into what stands around it."""
    return f'"\u2068{text}\u2069"'


def file_name(text: str) -> str:
    """A name that any file system takes; what is long ends in a hash."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip("-.") or "system"
    held = name.encode()
    return name if len(held) <= _LONGEST_NAME else f"{held[:_LONGEST_NAME].decode(errors='ignore')}-{hash_of(text)[:8]}"


def file_names(texts: Sequence[str]) -> list[str]:
    """A name of its own for each text, that any file system takes."""
    names: list[str] = []
    for text in texts:
        first = name = file_name(text)
        for number in itertools.count(2):
            if name not in names:
                break
            name = f"{first}-{number}"
        names.append(name)
    return names

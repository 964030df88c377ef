"""Compare systems on one or more data sets: one table, with every test that it takes to believe it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from encloze import progress, recipe
from encloze.commands.base import Command
from encloze.commands.evaluate import Evaluate
from encloze.data.contamination import Contamination, contamination_of
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.evaluation.benchmarks.base import Benchmark
from encloze.evaluation.comparison import ComparisonTable, Competitor, short_names
from encloze.evaluation.measures import DEFAULT, canonical
from encloze.evaluation.report import Report
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance
from encloze.systems.base import System, inputs_of, numbered

_HOLES = "Judged@10"


@dataclass(frozen=True)
class Compare(Command, name="compare"):
    """Evaluates every system on every data set, and holds each against the first one.

    Told are differences with intervals, p-values corrected for the whole table, whether a system is not worse or
    equivalent within a margin, wins, ties and losses, and the smallest difference that so many queries can show.
    """

    dataset: tuple[Format, ...] = ()
    """One or more data sets: folders in BEIR's or MS MARCO's layout, python_docs, files of judgments."""
    systems: tuple[System, ...] = ()
    """What to compare, the baseline first: bm25, a model's name or folder, an index folder, a TREC run file, seeds."""
    split: str = "test"
    """The part of the queries to judge, of every data set."""
    measures: tuple[str, ...] = ()
    """Measures in ir-measures' spelling or the usual ones (mrr@10, recall@100); the first is compared. By default
    nDCG@10, RR@10, R@100 and AP, or those of the benchmarks."""
    depth: int = 100
    """How many documents each system ranks for a query; more where a measure looks deeper."""
    passage_aggregation: Literal["none", "max"] = "none"
    """What judgments name: documents, or the longer texts (doc_id) that they were cut from, each as good as its best
    passage."""
    ignore_identical_ids: bool = False
    """Whether a document that bears the query's own id counts or is skipped, as BEIR does."""
    measure_memory: bool = False
    """Whether each system makes ready and searches once more, in a process of its own, to tell how much memory that
    holds."""
    equivalence_margin: float = 0.01
    """The difference in the first measure that counts as nothing: for "not worse" and "equivalent"."""
    near_duplicate_threshold: float | None = 0.8
    """From this Jaccard similarity of words (four in a row) on, queries and relevant documents of the split count as
    those of train, dev or validation, which is told; null does not look. Benchmarks are not looked at."""
    output: Path | None = None
    """A folder for the comparison and the report of each data set; nothing is written without one."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""
    seed: int = 0
    """Where the intervals and tests are drawn from."""
    benchmark: tuple[Benchmark, ...] = ()
    """Published collections beside the data sets, each with its own split and rules: beir/scifact, msmarco-dev, ..."""

    def __post_init__(self) -> None:
        if not (self.dataset or self.benchmark):
            raise ValueError("dataset is empty: name at least one, as in --dataset FOLDER,FOLDER, or a benchmark")
        if self.near_duplicate_threshold is not None and not 0 < self.near_duplicate_threshold <= 1:
            raise ValueError(
                f"near_duplicate_threshold must be above 0 and at most 1, not {self.near_duplicate_threshold}"
            )
        if self.equivalence_margin <= 0:
            raise ValueError(f"equivalence_margin must be above 0, not {self.equivalence_margin}")
        self._evaluations()  # checks what they share

    def run(self) -> ComparisonTable:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        evaluations = [evaluation.written_out() for evaluation in self._evaluations()]
        parts = [(evaluation.dataset, evaluation.split) for evaluation in evaluations if evaluation.dataset]
        for dataset, split in parts:  # what is amiss with the last one is said before the first is run
            _ = (of_split := DatasetSplit(dataset, split)).judgments
            for system in self.systems:
                system.check()
                system.check_for(of_split)
        names = short_names([str(dataset.place()) for dataset, _ in parts])
        reports = []
        for name, evaluation in zip(names, evaluations, strict=True):
            progress.note(f"On {name}, {evaluation.split}:")
            reports.append(evaluation.run())
        shared = tuple(self._shared(*part) for part in parts)
        made = ComparisonTable(
            tuple(reports), self._competitors(reports[0]), names, self.equivalence_margin, self.seed, shared
        )
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                made.save(folder)
                inputs: dict[str, Path | str | None] = {**inputs_of(self.systems, "systems")}
                for number, (dataset, _) in enumerate(parts):
                    inputs |= dataset.inputs(f"dataset[{number}]")
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return made

    def _shared(self, dataset: Format, split: str) -> tuple[Contamination, ...]:
        reads = any("queries" in part.heeds for system in self.systems for part in system.parts())
        if self.near_duplicate_threshold is None or not reads or dataset not in self.dataset:
            return ()
        return tuple(contamination_of(dataset, split, self.near_duplicate_threshold))

    def _evaluations(self) -> list[Evaluate]:
        more: dict[str, Any] = {
            "measures": self._told_in(),
            "depth": self.depth,
            "passage_aggregation": self.passage_aggregation,
        }
        more |= {
            "ignore_identical_ids": self.ignore_identical_ids,
            "measure_memory": self.measure_memory,
            "seed": self.seed,
        }
        named = [Evaluate(dataset, self.split, self.systems, **more) for dataset in self.dataset]
        return named + [Evaluate(systems=self.systems, benchmark=benchmark, **more) for benchmark in self.benchmark]

    def _told_in(self) -> tuple[str, ...]:
        """One table's measures: those asked for, or what all of it is told in when it is by itself."""
        own = {benchmark.rules().measures for benchmark in self.benchmark} | {DEFAULT for _ in self.dataset[:1]}
        if not self.measures and len(own) > 1:
            told = "; ".join(sorted(" ".join(one) for one in own))
            raise ValueError(f"measures: the data sets are told in different ones ({told}). Name those of the table")
        asked = self.measures or own.pop()
        return asked if _HOLES in map(canonical, asked) else (*asked, _HOLES)

    def _competitors(self, report: Report) -> tuple[Competitor, ...]:
        """The systems as they were asked for; a report lists the seeds of one, one by one."""
        labels = iter(system.name for system in report.systems)
        members = [tuple(next(labels) for _ in system.parts()) for system in self.systems]
        names = (
            some[0] if len(some) == 1 else system.title or system.label()
            for some, system in zip(members, self.systems, strict=True)
        )
        return tuple(map(Competitor, numbered(names), members))

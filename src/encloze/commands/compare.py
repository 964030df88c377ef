"""Compare systems on one or more data sets, with significance tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encloze import progress, recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.commands.evaluate import Evaluate
from encloze.data.contamination import Contamination, find_contamination
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.evaluation.benchmarks.base import Benchmark
from encloze.evaluation.comparison import ComparedSystem, ComparisonTable, short_names
from encloze.evaluation.measures import DEFAULT_MEASURES, canonical_name
from encloze.evaluation.report import Report
from encloze.evaluation.rules import PassageAggregation
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance
from encloze.systems.base import System, inputs_of, unique_names

_JUDGED = "Judged@10"
"""Measure that is always included, because unjudged documents may bias the comparison."""


@dataclass(frozen=True)
class Compare(Command, name="compare"):
    """Evaluate systems on one or more data sets, and compare each system with the first system.

    The result has differences with confidence intervals, p-values corrected for all comparisons, verdicts on
    non-inferiority and equivalence within a margin, wins, ties and losses, and minimum detectable differences.

    Example:
        >>> Compare(dataset=["first", "second"], systems=["bm25", "minilm"]).run().to_pandas()  # doctest: +SKIP
    """

    dataset: tuple[Format, ...] = ()
    """One or more data sets: folders in the layout of BEIR or MS MARCO, python_docs, or TREC judgment files (qrels)."""
    systems: tuple[System, ...] = ()
    """Systems to compare, the baseline first: bm25, a model's name or folder, an index folder, a TREC run file, or
    a group of models of one configuration trained with different seeds."""
    split: str = "test"
    """Split of the queries to evaluate on, the same for all data sets."""
    measures: tuple[str, ...] = ()
    """Measures, named as in ir-measures (nDCG@10) or by a common name (mrr@10, recall@100). Systems are compared
    by the first measure. Default: nDCG@10, RR@10, R@100 and AP, or the measures of the benchmarks."""
    depth: int = 100
    """Number of documents that each system ranks per query; at least the largest cutoff of the measures."""
    passage_aggregation: PassageAggregation = "none"
    """none: judgments refer to documents of the corpus. max: judgments refer to source texts, which are split into
    passages; the score of a source text is the highest score of its passages."""
    ignore_identical_ids: bool = False
    """Whether documents with the id of their query are removed from the rankings, as in BEIR."""
    measure_latency: bool = False
    """Whether single queries are timed, too, with all that they need, such as the encoder: 100 of them one after the
    other, after 5 that are not counted."""
    measure_memory: bool = False
    """Whether to measure the peak memory of each system. For this, the system searches again in a separate process."""
    equivalence_margin: float = 0.01
    """Largest difference in the first measure that is considered negligible by the verdicts "not worse" and
    "equivalent"."""
    near_duplicate_threshold: float | None = 0.8
    """Queries and relevant documents of the evaluated split are reported as near-duplicates if their Jaccard similarity
    (of 4-word shingles) to those of the splits train, dev or validation is at least this value. null skips this check.
    Benchmarks are not checked."""
    output: Path | None = None
    """Folder for the comparison and the report of each data set. By default nothing is saved."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    execution: Executor = field(default_factory=Local)
    """Where models encode documents: in this process (local), in several (processes), or on a Ray cluster (ray)."""
    seed: Seed = 0
    """Seed of the bootstrap intervals and randomization tests."""
    benchmark: tuple[Benchmark, ...] = ()
    """Published benchmarks in addition to the data sets, each with its own split and rules: beir/scifact,
    msmarco-dev, ..."""

    def __post_init__(self) -> None:
        if not (self.dataset or self.benchmark):
            raise ValueError(
                "dataset is empty. Name at least one data set, as in --dataset FOLDER,FOLDER, or benchmark,"
                " as in --benchmark msmarco-dev"
            )
        threshold = self.near_duplicate_threshold
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"near_duplicate_threshold must be above 0 and at most 1, not {threshold}")
        if self.equivalence_margin <= 0:
            raise ValueError(f"equivalence_margin must be above 0, not {self.equivalence_margin}")
        self._evaluations()  # checks the settings that they have in common

    @locks_output
    def run(self) -> ComparisonTable:
        """Evaluate the systems on all data sets and compare them.

        Returns:
            The comparison, with the report of each data set.

        Raises:
            DataError: A data set or a system is missing or damaged, or a system cannot rank a data set.
            StorageError: The output folder exists.
        """
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        evaluations = [evaluation.resolve_benchmark() for evaluation in self._evaluations()]
        splits = [(evaluation.dataset, evaluation.split) for evaluation in evaluations if evaluation.dataset]
        self._check(splits)
        names = short_names([str(dataset.location()) for dataset, _ in splits])
        reports = []
        for name, evaluation in zip(names, evaluations, strict=True):
            progress.note(f"Data set {name}, split {evaluation.split}")
            reports.append(evaluation.run())
        contamination = tuple(self._contamination(dataset, split) for dataset, split in splits)
        systems = self._compared_systems(reports[0])
        table = ComparisonTable(tuple(reports), systems, names, self.equivalence_margin, self.seed, contamination)
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                table.save(folder)
                inputs: dict[str, Path | str | None] = {**inputs_of(self.systems, "systems")}
                for number, (dataset, _) in enumerate(splits):
                    inputs |= dataset.inputs(f"dataset[{number}]")
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return table

    def _check(self, splits: list[tuple[Format, str]]) -> None:
        """Check all data sets and systems, so that an error is raised before the first evaluation starts."""
        for dataset, split in splits:
            _ = (dataset_split := DatasetSplit(dataset, split)).judgments
            for system in self.systems:
                system.check_files()
                system.check_dataset(dataset_split)

    def _contamination(self, dataset: Format, split: str) -> tuple[Contamination, ...]:
        reads_queries = any("queries" in part.depends_on for system in self.systems for part in system.parts())
        if self.near_duplicate_threshold is None or not reads_queries or dataset not in self.dataset:
            return ()
        return tuple(find_contamination(dataset, split, self.near_duplicate_threshold))

    def _evaluations(self) -> list[Evaluate]:
        common: dict[str, Any] = {
            "measures": self._common_measures(),
            "depth": self.depth,
            "passage_aggregation": self.passage_aggregation,
            "ignore_identical_ids": self.ignore_identical_ids,
            "measure_latency": self.measure_latency,
            "measure_memory": self.measure_memory,
            "execution": self.execution,
            "seed": self.seed,
        }
        evaluations = [Evaluate(dataset, self.split, self.systems, **common) for dataset in self.dataset]
        return evaluations + [Evaluate(systems=self.systems, benchmark=one, **common) for one in self.benchmark]

    def _common_measures(self) -> tuple[str, ...]:
        """Return the measures of the settings or, if none are set, the default measures, in both cases with Judged@10.

        If no measures are set, all data sets must have the same default measures.
        """
        defaults = {benchmark.rules().measures for benchmark in self.benchmark}
        if self.dataset:
            defaults.add(DEFAULT_MEASURES)
        if not self.measures and len(defaults) > 1:
            lists = "; ".join(sorted(" ".join(measures) for measures in defaults))
            raise ValueError(
                f"the data sets have different default measures ({lists}). Set measures to use the same for all"
            )
        measures = self.measures or defaults.pop()
        return measures if _JUDGED in map(canonical_name, measures) else (*measures, _JUDGED)

    def _compared_systems(self, report: Report) -> tuple[ComparedSystem, ...]:
        """Return each system with its names in the report. A system with several training seeds has a name for each."""
        labels = iter(system.name for system in report.systems)
        members = [tuple(next(labels) for _ in system.parts()) for system in self.systems]
        names = (
            labels_of_system[0] if len(labels_of_system) == 1 else system.title or system.default_title()
            for labels_of_system, system in zip(members, self.systems, strict=True)
        )
        return tuple(map(ComparedSystem, unique_names(names), members))

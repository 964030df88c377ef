"""Evaluate systems (BM25, models, indexes, runs) on the queries of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from encloze import progress, recipe
from encloze.commands._execution import check_one_command, encode_for_systems
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.counts import DatasetCounts
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.evaluation.benchmarks.base import Benchmark, check_dataset_or_benchmark
from encloze.evaluation.measures import DEFAULT_MEASURES, canonical_name, cutoff_of
from encloze.evaluation.report import Report, evaluate_runs
from encloze.evaluation.results import SystemResult
from encloze.evaluation.rules import PassageAggregation, RankingRules
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance
from encloze.systems.base import System, inputs_of, unique_titles
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.reranked import Reranked


@dataclass(frozen=True)
class Evaluate(Command, name="evaluate"):
    """Evaluate systems on one data set.

    The result is a table with the measures of each system, their confidence intervals, and the difference from the
    first system with a significance test.

    Example:
        >>> Evaluate(dataset="my_data", systems=["bm25", "minilm"]).run().to_pandas()  # doctest: +SKIP
    """

    dataset: Format | None = None
    """Documents, queries and judgments: a folder in the layout of BEIR or MS MARCO, or python_docs (docstrings of
    installed packages)."""
    split: str = "test"
    """Split of the queries to evaluate on."""
    systems: tuple[System, ...] = ()
    """Systems to evaluate, the baseline first: bm25, a model's name or folder, an index folder, a TREC run file."""
    model: str | None = None
    """Another model to evaluate, added at the end of the setting systems."""
    index: Path | None = None
    """Another index folder to evaluate, added at the end of the setting systems, after model."""
    reranker: str | None = None
    """Cross-encoder. Every system is also evaluated with its top-ranked documents re-ranked by this cross-encoder."""
    rerank_depth: int = 50
    """Number of documents per query that the cross-encoder re-ranks."""
    keep_only_gains: bool = False
    """Whether to leave the re-ranker out of a system unless it improves nDCG@10 significantly on dev or validation."""
    measures: tuple[str, ...] = ()
    """Measures, named as in ir-measures (nDCG@10) or by a common name (mrr@10, recall@100). Systems are compared
    by the first measure. Default: nDCG@10, RR@10, R@100 and AP, or the measures of the benchmark."""
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
    output: Path | None = None
    """Folder for the report, the values of each query and the rankings. By default nothing is saved."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    execution: Executor = field(default_factory=Local)
    """Where models encode documents: in this process (local), in several (processes), or on a Ray cluster (ray)."""
    seed: Seed = 0
    """Seed of the bootstrap intervals and randomization tests."""
    benchmark: Benchmark | None = None
    """Published benchmark in place of dataset and split, evaluated by its own rules: msmarco-dev, trec-dl-2019,
    trec-dl-2020, beir/NAME, mteb/TASK. It is downloaded, or read from benchmark.path."""

    def __post_init__(self) -> None:
        check_one_command(self.execution)
        check_dataset_or_benchmark(self.dataset, self.split, self.benchmark)
        for name in self.measures:
            canonical_name(name)
        if not (self.systems or self.model or self.index):
            raise ValueError("systems is empty. Name at least one system, as in --systems bm25,minilm")
        if self.keep_only_gains and not self.reranker:
            raise ValueError("keep_only_gains needs a reranker")
        check_tuning_split(self.systems, self.split)
        self._rules.check(is_tuned=any(system.tuned_on for system in self.systems))

    @property
    def _rules(self) -> RankingRules:
        max_cutoff = max(map(cutoff_of, self.measures or DEFAULT_MEASURES))
        return RankingRules(self.depth, self.passage_aggregation, self.ignore_identical_ids, max_cutoff)

    @locks_output
    def run(self) -> Report:
        """Evaluate the systems.

        Returns:
            The report.

        Raises:
            DataError: The data set or a system is missing or damaged, or a system cannot rank the data set.
            StorageError: The output folder exists.
        """
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        if self.benchmark:
            return self.resolve_benchmark().run()
        assert self.dataset is not None  # __post_init__ checks that there is a data set or a benchmark
        dataset = DatasetSplit(self.dataset, self.split, judgments_by_source=self.passage_aggregation == "max")
        systems = self._all_systems()
        for system in systems:
            system.check_files()
            system.check_dataset(dataset)
        if models := [system for system in systems if system.encoders()]:
            encode_for_systems(models, dataset.corpus, self.execution)
        titles = unique_titles(systems)
        results = [self._rank(title, system, dataset) for title, system in zip(titles, systems, strict=True)]
        judgments = dataset.evaluated_judgments(texts=any("queries" in system.depends_on for system in systems))
        measures, counts = self.measures or DEFAULT_MEASURES, self._counts(dataset, results)
        location = str(self.dataset.location())
        report = evaluate_runs(location, self.split, judgments, results, measures, self.seed, counts)
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                report.save(folder)
                inputs = self.dataset.inputs("dataset") | inputs_of(systems, "systems")
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return report

    def resolve_benchmark(self) -> Evaluate:
        """Return this command with the data set, split and rules of its benchmark; unchanged if no benchmark is set.

        Measures that the user has set are kept.
        """
        if self.benchmark is None:
            return self
        measures = self.measures or self.benchmark.rules().measures
        resolved: Evaluate = self.benchmark.apply_to(self, measures=measures)
        return resolved

    def _rank(self, title: str, system: System, dataset: DatasetSplit) -> SystemResult:
        progress.note(f"Evaluating {title}")
        result = system.rank(dataset, self._rules.search_depth, measure_latency=self.measure_latency)
        memory = system.measure_memory(dataset, self._rules.search_depth) if self.measure_memory else None
        run = self._rules.apply(result.run, partial(result.ranked_corpus, dataset))
        return replace(result, name=title, run=run, memory_bytes=memory)

    def _counts(self, dataset: DatasetSplit, results: list[SystemResult]) -> DatasetCounts:
        """Count the judgments and, if a system reads them, the queries and documents. Run files read neither."""
        parts = {part for system in self._all_systems() for part in system.depends_on}
        reads_corpus = bool(self.reranker) or self.passage_aggregation == "max"
        return dataset.counts(
            queries="queries" in parts or bool(self.reranker),
            documents="documents" in parts or (reads_corpus and any(result.corpus is None for result in results)),
        )

    def _all_systems(self) -> list[System]:
        model = [Model(self.model)] if self.model else []
        index = [Index(self.index)] if self.index else []
        systems = [part for system in (*self.systems, *model, *index) for part in system.parts()]
        if not self.reranker:
            return systems
        settings: dict[str, Any] = {"depth": self.rerank_depth, "keep_only_gains": self.keep_only_gains}
        return [*systems, *(Reranked(system, self.reranker, **settings) for system in systems)]


def check_tuning_split(systems: tuple[System, ...], split: str) -> None:
    """Raise ValueError if the ``tune_on`` of a system is the evaluated split."""
    if any(system.tuned_on == split for system in systems):
        raise ValueError(f"a system is tuned on the evaluated split {split!r}. Set its tune_on to another split")

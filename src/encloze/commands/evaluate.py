"""Judge systems (BM25, models, indexes, runs) on the queries of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from encloze import progress, recipe
from encloze.commands.base import Command
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.evaluation.benchmarks.base import Benchmark, check_what_is_judged
from encloze.evaluation.measures import DEFAULT, canonical, cutoff
from encloze.evaluation.report import Judged, Report, judge
from encloze.evaluation.rules import RankingRules
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance
from encloze.systems._memory import memory_of
from encloze.systems.base import System, inputs_of, titles
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.reranked import Reranked


@dataclass(frozen=True)
class Evaluate(Command, name="evaluate"):
    """One table: every system's measures with intervals, and its difference from the first with a test."""

    dataset: Format | None = None
    """Documents, queries and judgments: a folder in BEIR's or MS MARCO's layout, or python_docs."""
    split: str = "test"
    """The part of the queries to judge."""
    systems: tuple[System, ...] = ()
    """What to judge, the baseline first: bm25, a model's name or folder, an index folder, a TREC run file."""
    model: str | None = None
    """One model more to judge."""
    index: Path | None = None
    """One index more to judge."""
    reranker: str | None = None
    """A re-ranker: every system is judged with it, too, over its first documents."""
    rerank_depth: int = 50
    """How many documents of each system it scores."""
    measures: tuple[str, ...] = ()
    """Measures in ir-measures' spelling or the usual ones (mrr@10, recall@100); the first is compared. By default
    nDCG@10, RR@10, R@100 and AP, or those of a benchmark."""
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
    output: Path | None = None
    """A folder for the report, the values of each query and the runs; nothing is written without one."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""
    seed: int = 0
    """Where the intervals and tests are drawn from."""
    benchmark: Benchmark | None = None
    """A published collection in place of dataset and split, judged by its own rules: msmarco-dev, trec-dl-2019,
    trec-dl-2020, beir/NAME. It is fetched, or read from benchmark.path."""

    def __post_init__(self) -> None:
        check_what_is_judged(self.dataset, self.split, self.benchmark)
        for name in self.measures:
            canonical(name)
        if not (self.systems or self.model or self.index):
            raise ValueError("systems is empty: name at least one, as in --systems bm25,minilm")
        if any(system.tuned_on == self.split for system in self.systems):
            raise ValueError(f"a system is tuned on {self.split!r}, the split that is judged: choose another tune_on")
        self._rules.check(tuned=any(system.tuned_on for system in self.systems))

    @property
    def _rules(self) -> RankingRules:
        deepest = max(map(cutoff, self.measures or DEFAULT))
        return RankingRules(self.depth, self.passage_aggregation == "max", self.ignore_identical_ids, deepest)

    def run(self) -> Report:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        if self.benchmark:
            return self.written_out().run()
        assert self.dataset is not None  # or there is a benchmark
        dataset = DatasetSplit(self.dataset, self.split, by_source=self.passage_aggregation == "max")
        for system in self._all():
            system.check()
            system.check_for(dataset)
        runs, rules = list[Judged](), self._rules
        for title, system in zip(titles(self._all()), self._all(), strict=True):
            progress.note(f"Judging {title}")
            outcome = system.rank(dataset, rules.search_depth)
            if self.measure_memory:
                outcome = outcome._replace(memory_bytes=memory_of(system, dataset, rules.search_depth))
            run = rules.apply(outcome.run, partial(outcome.searched, dataset))
            runs.append(outcome._replace(run=run).named(title))
        judgments = dataset.judged(texts=any("queries" in system.heeds for system in self._all()))
        measures = self.measures or DEFAULT
        report = judge(str(self.dataset.place()), self.split, judgments, runs, measures, self.seed, dataset.counts())
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                report.save(folder)
                inputs = self.dataset.inputs("dataset") | inputs_of(self._all(), "systems")
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return report

    def written_out(self) -> Evaluate:
        """The same with a benchmark's texts and rules in its place; measures that were asked for stay."""
        if self.benchmark is None:
            return self
        made: Evaluate = self.benchmark.in_place(self, measures=self.measures or self.benchmark.rules().measures)
        return made

    def _all(self) -> list[System]:
        more: list[System] = [Model(self.model)] if self.model else []
        given = [*self.systems, *more, *([Index(self.index)] if self.index else [])]
        plain = [part for system in given for part in system.parts()]
        if not self.reranker:
            return plain
        return [*plain, *(Reranked(system, self.reranker, self.rerank_depth) for system in plain)]

"""Judge systems on queries that went wrong: what typing errors and other hardships cost each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from encloze import progress, recipe
from encloze.commands.base import Command
from encloze.data.corpus import Corpus, write
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query, Run
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, check_what_is_judged
from encloze.evaluation.comparison import short_names
from encloze.evaluation.document_perturbations.base import DocumentPerturbation
from encloze.evaluation.measures import canonical, cutoff, measure
from encloze.evaluation.query_perturbations.base import QueryPerturbation
from encloze.evaluation.report import file_name
from encloze.evaluation.robustness import AppliedPerturbation, RobustnessReport, SystemRobustness
from encloze.evaluation.rules import RankingRules
from encloze.evaluation.slices import Slice, slices
from encloze.search.analyzers.unicode import Unicode
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.cache import temporary_folder
from encloze.storage.provenance import write_provenance
from encloze.systems.base import Outcome, System, inputs_of, titles
from encloze.systems.seeds import Seeds


@dataclass(frozen=True)
class Robustness(Command, name="robustness"):
    """The robustness card: every system's loss under each perturbation of the queries, with its interval.

    Documents are read, encoded and indexed once for all perturbations of queries.
    """

    dataset: Format | None = None
    """Documents, queries and judgments: a folder in BEIR's or MS MARCO's layout, or python_docs."""
    systems: tuple[System, ...] = ()
    """What to judge: bm25, a model's name or folder, an index folder, one of them re-ranked."""
    per_view: bool = False
    """Whether a system of several views is stressed by each of them alone, too, before their sum."""
    split: str = "test"
    """The part of the queries to judge."""
    query_perturbations: tuple[QueryPerturbation, ...] = ()
    """What befalls the queries; by default each kind once, as it comes."""
    document_perturbations: tuple[DocumentPerturbation, ...] = ()
    """What befalls the documents, each of which makes every system read them anew: length, position, duplicates,
    distractors; none by default."""
    other_datasets: tuple[Format, ...] = ()
    """Data sets of other domains: every system is judged on their queries of the same split, too, as they are asked,
    and how that differs stands among the slices."""
    measure: str | None = None
    """The measure whose loss is told, in ir-measures' spelling or a usual one (mrr@10, recall@100); by default nDCG@10,
    or a benchmark's first."""
    depth: int = 100
    """How many documents each system ranks for a query; more where the measure looks deeper."""
    passage_aggregation: Literal["none", "max"] = "none"
    """What judgments name: documents, or the longer texts (doc_id) that they were cut from, each as good as its best
    passage."""
    ignore_identical_ids: bool = False
    """Whether a document that bears the query's own id counts or is skipped, as BEIR does."""
    output: Path | None = None
    """A folder for the card and the values of each query; nothing is written without one."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""
    seed: int = 0
    """Where perturbations and intervals are drawn from."""
    benchmark: Benchmark | None = None
    """A published collection in place of dataset and split, judged by its own rules: msmarco-dev, beir/NAME ..."""

    def __post_init__(self) -> None:
        check_what_is_judged(self.dataset, self.split, self.benchmark)
        canonical(self._measure)
        if not self.systems:
            raise ValueError("systems is empty: name at least one, as in --systems bm25,minilm")
        if any(system.tuned_on == self.split for system in self.systems):
            raise ValueError(f"a system is tuned on {self.split!r}, the split that is judged: choose another tune_on")
        self._rules.check(tuned=any(system.tuned_on for system in self.systems))
        if self.document_perturbations and self.passage_aggregation == "max":
            raise ValueError("burdens lie on the documents that judgments name, and judged says they name sources")
        if any(isinstance(system, Seeds) for system in self.systems):
            raise ValueError("seeds stand for several systems, and a card is of each by itself: name them one by one")
        for side in ("queries", "documents") if self.document_perturbations or self.other_datasets else ("queries",):
            if strange := [system.label() for system in self.systems if side not in system.heeds]:
                raise ValueError(
                    f"the system {strange[0]} does not heed other {side} than it was made with: name what made it "
                    "instead, such as bm25 or a model"
                )
        names = Counter(each.as_chosen() for each in (*self.query_perturbations, *self.document_perturbations))
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"{twice[0]} is asked for twice with the same settings")

    @property
    def _measure(self) -> str:
        return self.measure or "nDCG@10"

    @property
    def _rules(self) -> RankingRules:
        return RankingRules(
            self.depth, self.passage_aggregation == "max", self.ignore_identical_ids, cutoff(self._measure)
        )

    def run(self) -> RobustnessReport:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        if self.benchmark:
            measure = self.measure or self.benchmark.rules().measures[0]
            made: Robustness = self.benchmark.in_place(self, measure=measure)
            return made.run()
        assert self.dataset is not None  # or there is a benchmark
        for system in self.systems:
            system.check()
        systems = [part for system in self.systems for part in (system.apart() if self.per_view else (system,))]
        dataset = DatasetSplit(self.dataset, self.split, by_source=self._rules.max_passage)
        elsewhere = self._elsewhere()
        sliced = self._slices(dataset)
        asked = [self._asked(each, dataset.queries) for each in self.query_perturbations or _each_kind()]
        stressed = list[SystemRobustness]()
        with temporary_folder() as folder:
            others = {each.as_chosen(): self._other(each, dataset, folder) for each in self.document_perturbations}
            for name, system in zip(titles(systems), systems, strict=True):
                progress.note(f"Judging {name}")
                stressed.append(self._stressed(name, system, dataset, asked, others, elsewhere))
        texts, all_of_them = tuple(query.text for query in dataset.queries), (True,) * len(dataset.queries)
        card = RobustnessReport(
            str(self.dataset.place()),
            self.split,
            canonical(self._measure),
            tuple(dataset.queries),
            (*asked, *(AppliedPerturbation(name, texts, all_of_them) for name in others)),
            tuple(stressed),
            sliced,
            self.seed,
            dataset.counts(),
        )
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as staging:
                card.save(staging)
                inputs = self.dataset.inputs("dataset") | inputs_of(self.systems, "systems")
                for number, other in enumerate(self.other_datasets):
                    inputs |= other.inputs(f"other_datasets[{number}]")
                told = replace(self, systems=tuple(systems), per_view=False)  # a name in the card for each
                write_provenance(staging, recipe.dump(told, {"verb": self.name}), inputs)
        return card

    def _slices(self, dataset: DatasetSplit) -> tuple[Slice, ...]:
        """By the words of queries and documents; none, which is said, where only indexes have documents."""
        try:
            return tuple(slices(dataset, Unicode().words))
        except DataError as error:
            if any("documents" in system.heeds for system in self.systems):
                raise
            progress.warn(f"no slices are told: {error}")
            return ()

    def _asked(self, perturbation: QueryPerturbation, queries: Sequence[Query]) -> AppliedPerturbation:
        texts = tuple(perturbation.perturbed(query, self.seed) for query in queries)
        changed = tuple(text != query.text for query, text in zip(queries, texts, strict=True))
        return AppliedPerturbation(perturbation.as_chosen(), texts, changed)

    def _other(self, burden: DocumentPerturbation, dataset: DatasetSplit, folder: Path) -> DatasetSplit:
        """The data set with burdened documents."""
        file = folder / f"{file_name(burden.as_chosen())}.arrow"
        write(burden.documents(dataset, self.seed), file)
        return dataset.over(Corpus(file))

    def _elsewhere(self) -> dict[str, DatasetSplit]:
        """The other data sets by their names; what is amiss with one is said before the first is read."""
        names = short_names([str(other.place()) for other in self.other_datasets]) if self.other_datasets else ()
        by_source = self._rules.max_passage
        found = {
            name: DatasetSplit(other, self.split, by_source)
            for name, other in zip(names, self.other_datasets, strict=True)
        }
        for other in found.values():
            _ = other.judgments
        return found

    def _stressed(
        self,
        name: str,
        system: System,
        dataset: DatasetSplit,
        asked: Sequence[AppliedPerturbation],
        others: Mapping[str, DatasetSplit],
        elsewhere: Mapping[str, DatasetSplit],
    ) -> SystemRobustness:
        queries, found = dataset.queries, dict[str, np.ndarray]()
        deep = self._rules.search_depth
        with system.ready(dataset) as ready:
            usual = ready.rank(queries, deep)
            for one in progress.track(asked, f"Stressing {name}", len(asked), "perturbations"):
                again = [q._replace(text=t) for q, t, c in zip(queries, one.texts, one.changed, strict=True) if c]
                nothing: Run = {query.id: {} for query in again}  # where it finds none any more
                run = usual.run | nothing | ready.run(again, deep)[0]
                found[one.name] = self._values(usual._replace(run=run), dataset)
        for hardship, other in others.items():
            progress.note(f"Judging {name} under {hardship}")
            found[hardship] = self._values(system.rank(other, deep), other)
        there = dict[str, np.ndarray]()
        for place, other in elsewhere.items():
            progress.note(f"Judging {name} on {place}")
            there[place] = self._values(system.rank(other, deep), other)
        return SystemRobustness(name, self._values(usual, dataset), found, usual.note, there)

    def _values(self, outcome: Outcome, dataset: DatasetSplit) -> np.ndarray:
        judgments = {query.id: dataset.judgments[query.id] for query in dataset.queries}
        run = self._rules.apply(outcome.run, partial(outcome.searched, dataset))
        return measure(run, judgments, [self._measure])[canonical(self._measure)]


def _each_kind() -> list[QueryPerturbation]:
    return [QueryPerturbation.member(name)() for name in QueryPerturbation.members()]

"""Measure how much perturbed queries and documents reduce retrieval quality."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from encloze import progress, recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.commands.evaluate import check_tuning_split
from encloze.data.corpus import Corpus
from encloze.data.corpus_files import write_documents
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query, Run
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, check_dataset_or_benchmark
from encloze.evaluation.comparison import short_names
from encloze.evaluation.document_perturbations.base import DocumentPerturbation
from encloze.evaluation.measures import canonical_name, compute_measures, cutoff_of
from encloze.evaluation.query_perturbations.base import QueryPerturbation
from encloze.evaluation.results import SystemResult
from encloze.evaluation.robustness import AppliedPerturbation, RobustnessReport, SystemRobustness
from encloze.evaluation.rules import PassageAggregation, RankingRules
from encloze.evaluation.slices import Slice, query_slices
from encloze.search.analyzers.unicode import Unicode
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.cache import temporary_folder
from encloze.storage.file_names import file_name
from encloze.storage.provenance import write_provenance
from encloze.systems.base import PreparedSystem, System, inputs_of, unique_titles
from encloze.systems.seeds import Seeds


@dataclass(frozen=True)
class Robustness(Command, name="robustness"):
    """Measure how much retrieval quality drops under perturbations, with confidence intervals.

    Documents are read, encoded and indexed once for all query perturbations, and again for each document perturbation.

    Example:
        >>> Robustness(dataset="my_data", systems=["bm25"]).run().to_pandas()  # doctest: +SKIP
    """

    dataset: Format | None = None
    """Documents, queries and judgments: a folder in the layout of BEIR or MS MARCO, or python_docs (docstrings of
    installed packages)."""
    systems: tuple[System, ...] = ()
    """Systems to evaluate: bm25, a model's name or folder, an index folder, or one of these with a re-ranker."""
    per_view: bool = False
    """Whether a system that combines several indexes, such as flat and bm25, is also evaluated on each index alone."""
    split: str = "test"
    """Split whose queries are evaluated."""
    query_perturbations: tuple[QueryPerturbation, ...] = ()
    """Perturbations of the queries. By default, every perturbation with its default settings."""
    document_perturbations: tuple[DocumentPerturbation, ...] = ()
    """Perturbations of the documents: length, position, duplicates, distractors. For each one, every system encodes
    and indexes all documents again."""
    other_datasets: tuple[Format, ...] = ()
    """Data sets of other domains. The systems are also evaluated on each of them, on the split with the same name.
    The report shows how much the results differ from those on dataset."""
    measure: str | None = None
    """Measure whose drop is reported, named as in ir-measures (R@100) or by a common name (recall@100). Default:
    nDCG@10, or the first measure of the benchmark."""
    depth: int = 100
    """Number of documents that each system ranks per query; at least the cutoff of the measure."""
    passage_aggregation: PassageAggregation = "none"
    """none: judgments refer to documents of the corpus. max: judgments refer to source texts, which are split into
    passages; the score of a source text is the highest score of its passages."""
    ignore_identical_ids: bool = False
    """Whether documents with the id of their query are removed from the rankings, as in BEIR."""
    output: Path | None = None
    """Folder for the report and the value of the measure for each query. By default nothing is saved."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    seed: Seed = 0
    """Random seed of the perturbations and of the bootstrap intervals."""
    benchmark: Benchmark | None = None
    """Published benchmark to use instead of dataset and split, such as msmarco-dev or beir/NAME. It is evaluated by its
    own rules."""

    def __post_init__(self) -> None:
        check_dataset_or_benchmark(self.dataset, self.split, self.benchmark)
        canonical_name(self._measure)
        if not self.systems:
            raise ValueError("systems is empty. Name at least one system, as in --systems bm25,minilm")
        check_tuning_split(self.systems, self.split)
        self._rules.check(is_tuned=any(system.tuned_on for system in self.systems))
        if self.document_perturbations and self.passage_aggregation == "max":
            raise ValueError(
                "document_perturbations cannot be combined with passage_aggregation=max: they change passages, but "
                "the judgments refer to the texts that the passages were cut from. Remove one of the two settings"
            )
        self._check_systems()
        names = Counter(each.summary() for each in (*self.query_perturbations, *self.document_perturbations))
        if repeated := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"the perturbation {repeated[0]} is listed twice. Remove one, or change its settings")

    def _check_systems(self) -> None:
        if any(isinstance(system, Seeds) for system in self.systems):
            raise ValueError(
                "robustness does not average over seeds. List the model of each seed as a system of its own in systems"
            )
        reads_other_documents = bool(self.document_perturbations or self.other_datasets)
        for part in ("queries", "documents") if reads_other_documents else ("queries",):
            fixed = [system.default_title() for system in self.systems if part not in system.depends_on]
            if fixed:
                raise ValueError(
                    f"the system {fixed[0]} only works for the {part} it was built from, but robustness also evaluates "
                    f"it with other {part}. Name bm25 or a model instead"
                )

    @property
    def _measure(self) -> str:
        return self.measure or "nDCG@10"

    @property
    def _rules(self) -> RankingRules:
        return RankingRules(self.depth, self.passage_aggregation, self.ignore_identical_ids, cutoff_of(self._measure))

    @locks_output
    def run(self) -> RobustnessReport:
        """Evaluate the systems without and with perturbations.

        Returns:
            The report, with the measure of each system for the unchanged data and for each perturbation.

        Raises:
            DataError: A data set or a system is missing or damaged, or a system cannot be evaluated on a data set.
            StorageError: The output folder exists, and ``overwrite`` is false.
        """
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        if self.benchmark:
            measure = self.measure or self.benchmark.rules().measures[0]
            resolved: Robustness = self.benchmark.apply_to(self, measure=measure)
            return resolved.run()
        assert self.dataset is not None  # __post_init__ checks that there is a data set or a benchmark
        for system in self.systems:
            system.check_files()
        systems = [part for system in self.systems for part in (system.per_view() if self.per_view else (system,))]
        dataset = self._split_of(self.dataset)
        other_datasets, slices = self._other_datasets(), self._slices(dataset)
        for system, one in itertools.product(self.systems, (dataset, *other_datasets.values())):
            system.check_dataset(one)
        perturbations = [
            self._perturb(one, dataset.queries) for one in self.query_perturbations or _all_perturbations()
        ]
        evaluated = list[SystemRobustness]()
        with temporary_folder() as folder:
            perturbed = {
                one.summary(): self._perturb_documents(one, dataset, folder) for one in self.document_perturbations
            }
            for name, system in zip(unique_titles(systems), systems, strict=True):
                progress.note(f"Evaluating {name}")
                evaluated.append(self._evaluate(name, system, dataset, perturbations, perturbed, other_datasets))
        texts, changed = tuple(query.text for query in dataset.queries), (True,) * len(dataset.queries)
        report = RobustnessReport(
            str(self.dataset.location()),
            self.split,
            canonical_name(self._measure),
            tuple(dataset.queries),
            (*perturbations, *(AppliedPerturbation(name, texts, changed) for name in perturbed)),
            tuple(evaluated),
            slices,
            self.seed,
            dataset.counts(queries=True, documents=any("documents" in system.depends_on for system in self.systems)),
        )
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as staging:
                report.save(staging)
                saved = replace(self, systems=tuple(systems), per_view=False)  # one system for each name in the report
                write_provenance(staging, recipe.dump(saved, {"verb": self.name}), self._inputs())
        return report

    def _inputs(self) -> dict[str, Path | str | None]:
        assert self.dataset is not None
        inputs: dict[str, Path | str | None] = {**self.dataset.inputs("dataset"), **inputs_of(self.systems, "systems")}
        for number, other in enumerate(self.other_datasets):
            inputs |= other.inputs(f"other_datasets[{number}]")
        return inputs

    def _split_of(self, dataset: Format) -> DatasetSplit:
        return DatasetSplit(dataset, self.split, judgments_by_source=self.passage_aggregation == "max")

    def _slices(self, dataset: DatasetSplit) -> tuple[Slice, ...]:
        """Return the subsets of the queries on which the report shows separate results.

        If the documents cannot be read and no system needs them, warn and return no subsets.
        """
        try:
            return tuple(query_slices(dataset, Unicode().words))
        except DataError as error:
            if any("documents" in system.depends_on for system in self.systems):
                raise
            progress.warn(f"The report has no results on subsets of the queries: {error}")
            return ()

    def _perturb(self, perturbation: QueryPerturbation, queries: Sequence[Query]) -> AppliedPerturbation:
        texts = tuple(perturbation.perturb_query(query, self.seed) for query in queries)
        changed = tuple(text != query.text for query, text in zip(queries, texts, strict=True))
        return AppliedPerturbation(perturbation.summary(), texts, changed)

    def _perturb_documents(
        self, perturbation: DocumentPerturbation, dataset: DatasetSplit, folder: Path
    ) -> DatasetSplit:
        """Write the perturbed documents to a file in ``folder``, and return the data set with these documents."""
        file = folder / f"{file_name(perturbation.summary())}.arrow"
        write_documents(perturbation.documents(dataset, self.seed), file)
        return dataset.with_corpus(Corpus(file))

    def _other_datasets(self) -> dict[str, DatasetSplit]:
        """Return ``other_datasets``, keyed by short names. Their judgments are read here, to raise errors early."""
        names = short_names([str(other.location()) for other in self.other_datasets]) if self.other_datasets else ()
        datasets = {name: self._split_of(other) for name, other in zip(names, self.other_datasets, strict=True)}
        for dataset in datasets.values():
            _ = dataset.judgments
        return datasets

    def _evaluate(
        self,
        name: str,
        system: System,
        dataset: DatasetSplit,
        perturbations: Sequence[AppliedPerturbation],
        perturbed_datasets: Mapping[str, DatasetSplit],
        other_datasets: Mapping[str, DatasetSplit],
    ) -> SystemRobustness:
        values, depth = dict[str, np.ndarray](), self._rules.search_depth
        with system.prepare(dataset) as prepared:
            clean = prepared.rank(dataset.queries, depth)
            for one in progress.track(perturbations, f"Perturbing the queries of {name}", len(perturbations)):
                run = self._perturbed_run(prepared, dataset.queries, one, clean.run)
                values[one.name] = self._values(replace(clean, run=run), dataset)
        for perturbation, other in perturbed_datasets.items():
            progress.note(f"Evaluating {name} with {perturbation}")
            values[perturbation] = self._values(system.rank(other, depth), other)
        other_values = dict[str, np.ndarray]()
        for location, other in other_datasets.items():
            progress.note(f"Evaluating {name} on {location}")
            other_values[location] = self._values(system.rank(other, depth), other)
        return SystemRobustness(name, self._values(clean, dataset), values, clean.note, other_values)

    def _perturbed_run(
        self, prepared: PreparedSystem, queries: Sequence[Query], perturbation: AppliedPerturbation, clean: Run
    ) -> Run:
        """Return the rankings of the perturbed queries; for queries that were not changed, those in ``clean``."""
        triples = zip(queries, perturbation.texts, perturbation.changed, strict=True)
        changed = [query._replace(text=text) for query, text, is_changed in triples if is_changed]
        empty: Run = {query.id: {} for query in changed}  # for queries that find no document any more
        return clean | empty | prepared.run(changed, self._rules.search_depth)[0]

    def _values(self, result: SystemResult, dataset: DatasetSplit) -> np.ndarray:
        judgments = {query.id: dataset.judgments[query.id] for query in dataset.queries}
        run = self._rules.apply(result.run, partial(result.ranked_corpus, dataset))
        return compute_measures(run, judgments, [self._measure])[canonical_name(self._measure)]


def _all_perturbations() -> list[QueryPerturbation]:
    return [QueryPerturbation.member(name)() for name in QueryPerturbation.members()]

"""Score candidate documents with a model, for distillation or calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from encloze import progress, recipe
from encloze.commands._begin_run import begin_run
from encloze.commands._execution import check_one_command
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, ScoringResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.data.runs import RUN_FILE, append_run, read_run, top_documents
from encloze.encoders.base import load_scorer
from encloze.errors import DataError
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.execution.scoring import ScoringComputation, ScoringJob
from encloze.settings import Seed
from encloze.storage.hashes import hash_of
from encloze.storage.provenance import describe_input, write_provenance

BATCH_SIZE = 16
"""Number of queries scored at a time. An interruption loses at most one batch."""


@dataclass(frozen=True)
class Score(Command, name="score"):
    """Score the candidates and the relevant documents of each query with a model, and write a TREC run of the scores.

    Example:
        >>> Score(dataset="my_data", model="reranker", candidates="negatives", output="scores").run()
    """

    dataset: Format
    """Data set with documents, queries and judgments."""
    model: str
    """Re-ranker or bi-encoder: a model folder or a Hugging Face hub id."""
    candidates: Path
    """TREC run, or a folder that contains one. The documents that the run ranks for the queries of the split are
    scored."""
    output: Path
    """Folder to which the TREC run of scores is written. The setting teacher of finetune reads it."""
    split: str = "train"
    """Split whose queries are scored."""
    depth: int = 100
    """Number of top-ranked candidates to score for each query."""
    max_queries: int | None = None
    """Maximum number of queries to score. They are sampled by a hash of seed and query id; null selects all queries.
    Distillation ignores queries without scores."""
    include_relevant: bool = True
    """Whether to score all documents judged relevant, including those that are not among the candidates."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    execution: Executor = field(default_factory=Local)
    """Where pairs are scored: in this process (local), in several (processes), or on a Ray cluster (ray)."""
    seed: Seed = 0
    """Random seed for sampling queries, if max_queries is set."""
    resume: bool = False
    """Whether to continue an interrupted score command with the same settings."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        check_one_command(self.execution)
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")
        if self.max_queries is not None and self.max_queries < 1:
            raise ValueError(f"max_queries must be 1 or more, or null for all, not {self.max_queries}")

    @locks_output
    def run(self) -> ScoringResult:
        """Score the candidates and write the scores to ``output``."""
        state = begin_run(self)
        dataset = DatasetSplit(self.dataset, self.split)
        candidates = self._sample(dict(self._read_candidates(dataset)))
        model = load_scorer(self.model, self.precision)
        state.open(
            {
                "corpus": dataset.corpus.fingerprint,
                "candidates": hash_of(candidates),
                "queries": hash_of({query.id: query.text for query in dataset.queries}),
                "model": describe_input(self.model),
            }
        )
        queries = [query for query in dataset.queries if query.id in candidates]
        batches = [queries[begin : begin + BATCH_SIZE] for begin in range(0, len(queries), BATCH_SIZE)]

        def pairs_of(shard: int) -> list[tuple[str, str]]:
            named = [(query.text, document) for query in batches[shard] for document in candidates[query.id]]
            texts = dataset.corpus.texts([dataset.corpus.number_of[document] for _, document in named])
            return [(query, text) for (query, _), text in zip(named, texts, strict=True)]

        computation = ScoringComputation(model.name, self.precision)
        job = ScoringJob(model, computation, [*map(len, batches)], pairs_of, state.folder / "scores")
        with state.write_output(overwrite=self.overwrite) as folder:
            with (folder / RUN_FILE).open("w", encoding="utf-8") as stream:
                for batch, scores in zip(batches, self.execution.run(job), strict=True):
                    rest = iter(scores.tolist())
                    run = {query.id: dict(zip(candidates[query.id], rest, strict=False)) for query in batch}
                    append_run(stream, run, Path(model.name).name)
            inputs = {**self.dataset.inputs("dataset"), "candidates": self.candidates, "model": self.model}
            write_provenance(folder, recipe.dump(replace(self, resume=False), {"verb": self.name}), inputs)
        return ScoringResult(self.output, len(queries), sum(map(len, candidates.values())))

    def _sample(self, candidates: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return the candidates of ``max_queries`` randomly sampled queries; the order of the queries is kept."""
        by_hash = sorted(candidates, key=lambda query: hash_to_unit_interval(f"{self.seed} {query}"))
        sample = set(by_hash[: self.max_queries])
        return {query: documents for query, documents in candidates.items() if query in sample}

    def _read_candidates(self, dataset: DatasetSplit) -> Iterator[tuple[str, list[str]]]:
        """Yield the id of each query that has candidates, with the ids of its documents to score.

        The documents are the query's first ``depth`` candidates and, if ``include_relevant`` is true, its relevant
        documents.
        """
        run, known = read_run(self.candidates), dataset.corpus.number_of
        ranked = (document for query in dataset.judgments for document in run.get(query, {}))
        dataset.check_candidates(ranked, str(self.candidates))
        without_candidates = 0
        for query in dataset.queries:
            documents = [d for d in top_documents(run.get(query.id, {}), self.depth) if d in known]
            without_candidates += not documents
            if documents and self.include_relevant:
                grades, listed = dataset.judgments[query.id], set(documents)
                documents += [d for d, grade in grades.items() if grade > 0 and d in known and d not in listed]
            if documents:
                yield query.id, documents
        if without_candidates == len(dataset.queries):
            raise DataError(
                f"{self.candidates} ranks no document for the queries of the split {self.split!r}. Give a run over "
                "these queries"
            )
        if without_candidates:
            progress.warn(f"{without_candidates} of {len(dataset.queries)} queries have no candidates and are skipped")

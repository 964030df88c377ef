"""Mine hard negatives: highly ranked documents that are not judged relevant."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Literal

from encloze import progress, recipe
from encloze.commands._begin_run import begin_run
from encloze.commands._execution import check_one_command, encode_for_systems
from encloze.commands._mining_scores import MiningIndex, text_scores
from encloze.commands._negative_filter import MinedNegatives, NegativeFilter
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, MiningResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query, Run
from encloze.data.resumable_runs import iterate_rankings, write_rankings
from encloze.data.runs import RUN_FILE, append_run
from encloze.data.words import normalize_text
from encloze.encoders.base import Encoder, load_scorer
from encloze.errors import DataError
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.storage.hashes import hash_of
from encloze.storage.json_files import read_json_log, write_json
from encloze.storage.provenance import describe_input, write_provenance
from encloze.storage.resumable_file import is_complete, open_resumable_file
from encloze.storage.run_state import RunState
from encloze.systems.base import PreparedSystem, System, inputs_of
from encloze.systems.bm25 import Bm25
from encloze.systems.model import Model

RANKING_BATCH_SIZE = 10_000
"""Number of queries that a source ranks at a time. Limits the memory, and the work lost by an interruption."""
RERANKER_BATCH_SIZE = 16
"""Number of queries whose candidates are filtered at a time. An interruption loses at most one batch."""
FILTER_BATCH_SIZE = 256
"""The same without a re-ranker."""
BI_ENCODER_BATCH_SIZE = 2048
"""The same for a bi-encoder, which encodes each distinct document of a batch once."""


@dataclass(frozen=True)
class Mine(Command, name="mine"):
    """Mine hard negatives: for each query, write highly ranked documents that are not relevant, as a TREC run.

    ``range_min``, ``range_max``, ``num_negatives``, ``absolute_margin`` and ``relative_margin`` are those of
    ``mine_hard_negatives`` of sentence-transformers, with the sampling strategy "top". One difference: here, the ranks
    of all documents are counted; sentence-transformers first removes the relevant documents from the ranking.

    Example:
        >>> Mine(dataset="my_data", sources=["bm25", "minilm"], num_negatives=7, output="negatives").run()
    """

    dataset: Format
    """Data set with documents, queries and judgments."""
    output: Path
    """Folder to which the TREC run of negatives is written. The setting negatives of finetune reads it."""
    sources: tuple[System, ...] = field(default_factory=lambda: (Bm25(),))
    """Systems that rank candidates: bm25, models, indexes or run files. The rankings of several sources are
    interleaved."""
    split: str = "train"
    """Split of the queries for which negatives are mined."""
    range_min: int = 0
    """Number of top-ranked documents of each ranking to skip, because unjudged documents among them are often
    relevant."""
    range_max: int = 200
    """Last rank of each ranking to consider. The candidates are the documents at the ranks range_min + 1 to
    range_max."""
    num_negatives: int = 50
    """Maximum number of negatives for each query. The highest-ranked candidates that no filter drops are taken."""
    near_duplicate_threshold: float | None = 0.8
    """Candidates with at least this Jaccard similarity of 4-word shingles to a relevant document are dropped; null
    disables the filter."""
    scorer: str | None = None
    """Bi-encoder or re-ranker whose scores of candidates and relevant documents are compared. Required for
    absolute_margin and relative_margin, and used only for them."""
    absolute_margin: float | None = None
    """The score of a negative must be at least this much below the lowest score of the query's relevant documents."""
    relative_margin: float | None = None
    """The score of a negative must be below (1 - relative_margin) times the lowest score of the query's relevant
    documents, if this lowest score is positive. A relative_margin of 0.05 is TopK-PercPos with 95 % (NV-Retriever)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the scorer's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    execution: Executor = field(default_factory=Local)
    """Where models encode documents: in this process (local), in several (processes), or on a Ray cluster (ray)."""
    resume: bool = False
    """Whether to continue an interrupted mine command with the same settings."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        check_one_command(self.execution)
        if not self.sources:
            raise ValueError("sources is empty: name at least one, as in --sources bm25")
        if self.range_min < 0 or self.range_max <= self.range_min or self.num_negatives < 1:
            raise ValueError("range_min must be 0 or more, range_max above range_min, and num_negatives 1 or more")
        if self.near_duplicate_threshold is not None and not 0 < self.near_duplicate_threshold <= 1:
            raise ValueError(
                f"near_duplicate_threshold must be above 0 and at most 1, not {self.near_duplicate_threshold}"
            )
        if self.scorer is None and (self.absolute_margin is not None or self.relative_margin is not None):
            raise ValueError("absolute_margin and relative_margin need scores: set scorer to a bi-encoder or re-ranker")
        if self.scorer is not None and self.absolute_margin is None and self.relative_margin is None:
            raise ValueError("scorer has no effect without a margin: set absolute_margin or relative_margin")
        if self.relative_margin is not None and not self.relative_margin < 1:
            raise ValueError(f"relative_margin must be below 1, not {self.relative_margin}; 0.05 means 5 %")

    @locks_output
    def run(self) -> MiningResult:
        """Mine the negatives and write them to ``output``."""
        dataset = DatasetSplit(self.dataset, self.split)
        for source in self.sources:
            source.check_files()
            source.check_dataset(dataset)
        state = begin_run(self)
        dataset.check_judged_documents()
        relevant = self._relevant_documents(dataset)
        scorer: Any = load_scorer(self.scorer, self.precision) if self.scorer else None  # may fail, so it comes first
        state.open(self._identity(dataset, relevant))
        encode_for_systems(self.sources, dataset.corpus, self.execution)
        queries = [query for query in dataset.queries if query.id in relevant]
        negatives_file = state.folder / "negatives.jsonl"
        if not is_complete(negatives_file):
            index = None
            if isinstance(scorer, Encoder) and any(self._is_scorer(source) for source in self.sources):
                index = MiningIndex(dataset.corpus, scorer, state.folder / "index")
            ranking_files = self._rank(dataset, queries, state, index)
            negative_filter = NegativeFilter(
                dataset.corpus,
                relevant,
                num_negatives=self.num_negatives,
                near_duplicate_threshold=self.near_duplicate_threshold,
                score_candidates=index.score if index else text_scores(dataset.corpus, scorer) if scorer else None,
                absolute_margin=self.absolute_margin,
                relative_margin=self.relative_margin,
            )
            batch_size = RERANKER_BATCH_SIZE if scorer else FILTER_BATCH_SIZE
            batch_size = BI_ENCODER_BATCH_SIZE if isinstance(scorer, Encoder) else batch_size
            self._filter(queries, ranking_files, negative_filter, negatives_file, batch_size)
        return self._write_output(state, negatives_file)

    def _is_scorer(self, source: System) -> bool:
        """Return whether a source ranks with all representations of the scorer, so that both can share an index."""
        return (
            isinstance(source, Model)
            and not source.views
            and (source.model, source.precision) == (self.scorer, self.precision)
        )

    def _relevant_documents(self, dataset: DatasetSplit) -> dict[str, list[str]]:
        """Return the ids of the relevant documents by query id. Queries without relevant documents are omitted.

        A document that is relevant to one query is also relevant to every other query with the same words.
        """
        by_text: dict[str, dict[str, None]] = {}
        for query in dataset.queries:
            documents = by_text.setdefault(normalize_text(query.text), {})
            documents.update(dict.fromkeys(d for d, grade in dataset.judgments[query.id].items() if grade > 0))
        relevant = {
            query.id: [d for d in by_text[normalize_text(query.text)] if d in dataset.corpus.number_of]
            for query in dataset.queries
        }
        if missing := sum(not documents for documents in relevant.values()):
            progress.warn(f"{missing} queries of the split {self.split!r} have no relevant document and are skipped")
        return {query: documents for query, documents in relevant.items() if documents}

    def _identity(self, dataset: DatasetSplit, relevant: dict[str, list[str]]) -> dict[str, object]:
        """Return fingerprints of all inputs. Mining can be resumed only if they have not changed."""
        return {
            "corpus": dataset.corpus.fingerprint,
            "queries": hash_of({query.id: query.text for query in dataset.queries}),
            "relevant": hash_of(relevant),
            **{name: describe_input(path) for name, path in self._model_inputs().items()},
        }

    def _rank(
        self, dataset: DatasetSplit, queries: list[Query], state: RunState, scorer_index: MiningIndex | None
    ) -> list[Path]:
        """Write the rankings of each source to a file of its own in the work folder. Return the files."""
        files = [state.folder / f"source-{number}.trec" for number in range(len(self.sources))]
        has_candidates = False
        for file, source in zip(files, self.sources, strict=True):
            name = source.title or source.default_title()
            if not is_complete(file):
                progress.note(f"Ranking with {name}")
                shared = (
                    PreparedSystem(scorer_index.retriever.run) if scorer_index and self._is_scorer(source) else None
                )
                with nullcontext(shared) if shared else source.prepare(dataset) as prepared:
                    rank = partial(_rank_batch, prepared, self.range_max)
                    write_rankings(file, queries, rank, batch_size=RANKING_BATCH_SIZE)
            has_candidates |= dataset.check_candidates(chain.from_iterable(iterate_rankings(file, queries)), name)
        if not has_candidates:
            raise DataError(f"none of the sources ranks a document for a query of the split {self.split!r}")
        return files

    def _filter(
        self,
        queries: list[Query],
        ranking_files: list[Path],
        negative_filter: NegativeFilter,
        output: Path,
        batch_size: int,
    ) -> None:
        """Select the negatives of each query from its candidates. Write one line of JSON per query to ``output``."""
        with (
            open_resumable_file(output) as file,
            progress.task("Filtering candidates", len(queries), "queries", completed=file.num_done) as bar,
        ):
            rankings = zip(
                *(islice(iterate_rankings(ranking, queries), file.num_done, None) for ranking in ranking_files),
                strict=True,
            )
            while batch := queries[file.num_done : file.num_done + batch_size]:
                candidates = [self._candidates(ranked) for ranked in islice(rankings, len(batch))]
                for mined in negative_filter.select(batch, candidates):
                    file.stream.write(json.dumps(mined._asdict()) + "\n")
                file.commit(len(batch))
                bar.advance(len(batch))

    def _candidates(self, rankings: Sequence[list[str]]) -> list[str]:
        """Return the ids of one query's candidates: the interleaved rankings of all sources, without repeated ids."""
        in_range = [ranking[self.range_min : self.range_max] for ranking in rankings]
        interleaved = (document for rank in zip_longest(*in_range) for document in rank)
        return [document for document in dict.fromkeys(interleaved) if document is not None]

    def _model_inputs(self) -> dict[str, Path | str]:
        """Return the files and models in ``sources`` and ``scorer``, keyed by the setting that names them."""
        return inputs_of(self.sources, "sources") | ({"scorer": self.scorer} if self.scorer else {})

    def _write_output(self, state: RunState, negatives_file: Path) -> MiningResult:
        """Write the negatives to the output folder, delete the work folder, and return counts of negatives."""
        dropped, negatives, empty, queries = Counter[str](), 0, 0, 0
        with state.write_output(overwrite=self.overwrite) as folder:
            with (folder / RUN_FILE).open("w", encoding="utf-8") as stream:
                for mined in read_json_log(negatives_file, MinedNegatives):
                    ranking = {document: 1 / rank for rank, document in enumerate(mined["negatives"], 1)}
                    append_run(stream, {mined["query"]: ranking})
                    dropped.update(mined["dropped"])
                    negatives, empty, queries = negatives + len(ranking), empty + (not ranking), queries + 1
            result = MiningResult(self.output, queries, negatives, dict(dropped), empty)
            write_json(folder / "mined.json", {**asdict(result), "folder": self.output.name})
            inputs = self.dataset.inputs("dataset") | self._model_inputs()
            write_provenance(folder, recipe.dump(replace(self, resume=False), {"verb": self.name}), inputs)
        if empty:
            progress.warn(f"{empty} of {queries} queries have no negatives: increase range_max or reduce the margins")
        return result


def _rank_batch(prepared: PreparedSystem, depth: int, queries: Sequence[Query]) -> Run:
    """Return, for each query of a batch, the ``depth`` documents with the highest scores."""
    return prepared.run(queries, depth)[0]

"""A system whose top-ranked documents are re-ranked by a cross-encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import sample_queries
from encloze.data.records import Query, Run
from encloze.data.runs import top_documents
from encloze.encoders.base import Precision, load_reranker
from encloze.retrieval.reranker_tuning import MAX_TUNING_QUERIES, tune_reranker
from encloze.retrieval.reranking import rerank, score_top
from encloze.retrieval.tuning_queries import default_tuning
from encloze.storage.model_folders import locate, size_of_weights
from encloze.systems.base import PreparedSystem, System


@dataclass(frozen=True)
class Reranked(System, name="reranked"):
    """A system whose top-ranked documents are re-ranked by a cross-encoder."""

    system: System
    """System that retrieves the candidates."""
    reranker: str
    """Cross-encoder: a model folder or a Hugging Face hub id."""
    depth: int = 50
    """Number of documents per query that are re-ranked."""
    weight: float | None = None
    """Weight of the re-ranker's scores, from 0 to 1; the scores of the system get 1 minus this. By default it is tuned
    by nDCG@10 on dev or validation, if the data set has one of them and another split is evaluated; otherwise 1."""
    keep_only_gains: bool = False
    """Whether to leave the re-ranker out unless it improves nDCG@10 significantly on dev or validation."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ValueError(f"weight must be from 0 to 1, not {self.weight}")
        if self.weight is not None and self.keep_only_gains:
            raise ValueError("keep_only_gains needs a weight that is tuned. Leave out weight")

    def inputs(self) -> dict[str, Path | str]:
        return {**self.system.inputs(), "reranker": self.reranker}

    def encoders(self) -> list[tuple[str, Precision]]:
        return self.system.encoders()

    @property
    def depends_on(self) -> tuple[str, ...]:
        return self.system.depends_on

    @property
    def tuned_on(self) -> str | None:
        return self.system.tuned_on

    def default_title(self) -> str:
        return f"{self.system.title or self.system.default_title()} + {Path(self.reranker).name}"

    def per_view(self) -> tuple[System, ...]:
        return (*self.system.per_view(), self)

    def check_files(self) -> None:
        self.system.check_files()
        locate(self.reranker)

    def check_dataset(self, dataset: DatasetSplit) -> None:
        self.system.check_dataset(dataset)

    @contextmanager
    def prepare(self, dataset: DatasetSplit) -> Iterator[PreparedSystem]:
        with self.system.prepare(dataset) as retriever:
            corpus, reranker = retriever.corpus or dataset.corpus, load_reranker(self.reranker)

            def rankings(queries: Sequence[Query], depth: int) -> tuple[Run, Run, float | None, float]:
                """Return the system's run, the re-ranker's scores, and the milliseconds per query of each of them."""
                found, milliseconds = retriever.run(queries, max(depth, self.depth))
                known = corpus.number_of
                candidates = {q: {d: score for d, score in scores.items() if d in known} for q, scores in found.items()}
                start = time.perf_counter()
                texts = {query.id: query.text for query in queries}
                scored = score_top(candidates, texts, corpus, reranker, self.depth)
                return candidates, scored, milliseconds, (time.perf_counter() - start) * 1000 / max(1, len(candidates))

            weight, note = self._weight(dataset, rankings)

            def run(queries: Sequence[Query], depth: int) -> tuple[Run, float | None]:
                if weight == 0 and self.keep_only_gains:
                    return retriever.run(queries, depth)
                candidates, scored, milliseconds, rerank_milliseconds = rankings(queries, depth)
                result = {q: top_documents(s, depth) for q, s in rerank(candidates, scored, weight).items()}
                return result, None if milliseconds is None else milliseconds + rerank_milliseconds

            model_bytes = (retriever.model_bytes or 0) + size_of_weights(self.reranker)
            notes = "; ".join(filter(None, (retriever.note, note)))
            yield retriever._replace(run=run, note=notes, model_bytes=model_bytes)

    def _weight(
        self, dataset: DatasetSplit, rankings: Callable[[Sequence[Query], int], tuple[Run, Run, float | None, float]]
    ) -> tuple[float, str]:
        """Return the weight of the re-ranker, and a note on how it was tuned; the note is empty if it was not."""
        if self.weight is not None:
            return self.weight, ""
        tuning = default_tuning(dataset) if "queries" in self.system.depends_on else None
        if tuning is None:
            if self.keep_only_gains:
                return 0.0, "the re-ranker is left out, because no dev or validation split shows whether it helps"
            return 1.0, ""
        queries = sample_queries(tuning.queries, MAX_TUNING_QUERIES)
        candidates, scored, _, _ = rankings(queries, self.depth)
        weight, gain = tune_reranker(candidates, scored, {query.id: tuning.judgments[query.id] for query in queries})
        figures = f"nDCG@10 {gain.mean:+.4f}, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}, on {tuning.split}"
        if gain.low > 0:
            return weight, f"the weight {weight:g} of the re-ranker was tuned ({figures})"
        if self.keep_only_gains:
            return 0.0, f"the re-ranker is left out, because it does not help ({figures})"
        progress.note(f"The re-ranker {self.reranker} does not help significantly ({figures})")
        return weight, f"the weight {weight:g} of the re-ranker was tuned, but gains nothing significant ({figures})"

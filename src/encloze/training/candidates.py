"""Sampling of training candidates: a relevant document and hard negatives for each query and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.records import TrainingExample
from encloze.data.words import normalize_text
from encloze.errors import DataError


class Relevance(NamedTuple):
    """Relevant texts of each training example: all text ids in one array, and where the ids of each example start."""

    offsets: np.ndarray
    """Index of each example's first id in ``text_ids``, followed by the number of ids, int64 ``(examples + 1,)``."""
    text_ids: np.ndarray
    """Ids of the relevant texts of all examples, concatenated (int64)."""

    @classmethod
    def from_examples(cls, examples: Sequence[TrainingExample], text_ids: np.ndarray) -> Relevance:
        """Collect the relevant texts of each example, including those of all examples with the same normalized query.

        Args:
            examples: Training examples.
            text_ids: Id of each document's text, int64 ``(documents,)``.
        """
        by_query: dict[str, set[int]] = {}
        queries = [normalize_text(example.query) for example in examples]
        for query, example in zip(queries, examples, strict=True):
            relevant = (*example.positives, *example.relevant)
            by_query.setdefault(query, set()).update(int(text_ids[document]) for document in relevant)
        rows = [sorted(by_query[query]) for query in queries]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(offsets, np.array([text_id for row in rows for text_id in row], np.int64))

    def of(self, example: int) -> list[int]:
        """Return the sorted ids of the texts that are relevant for an example."""
        return list(self.text_ids[self.offsets[example] : self.offsets[example + 1]].tolist())

    def lookup(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the relevant texts of some examples, as pairs of an example and a text.

        Args:
            examples: Indices of examples, int64 ``(queries,)``.

        Returns:
            Two int64 arrays ``(pairs,)``: the position in ``examples`` of each pair's example, and its text id.
        """
        sizes = self.offsets[examples + 1] - self.offsets[examples]
        rows = np.repeat(np.arange(len(examples)), sizes)
        within_row = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return rows, self.text_ids[self.offsets[examples][rows] + within_row]


class SampledCandidates(NamedTuple):
    """Candidate documents of some queries: in column 0 a relevant document, in all other columns hard negatives."""

    text_ids: np.ndarray
    """Ids of the candidates' texts, int64 ``(queries, candidates)``. Queries with fewer candidates are padded with
    -1."""
    teacher_scores: np.ndarray
    """Scores of the candidates by a teacher model, float32 ``(queries, candidates)``; NaN if there is no score."""


class CandidateSampler:
    """Samples candidate documents for queries; the sample depends only on the seed, the epoch and the example.

    In each epoch a query gets one of its relevant documents and up to ``negatives`` of its hard negatives. Documents
    with the same text have the same text id, so that a copy of a relevant document is never a negative.

    Args:
        corpus: The documents.
        examples: Training examples, which refer to documents by their index in the corpus.
        negatives: Number of hard negatives per query.
        seed: Seed of the sampling.

    Raises:
        DataError: All documents have the same text.
    """

    def __init__(self, corpus: Corpus, examples: Sequence[TrainingExample], negatives: int, seed: int) -> None:
        self.examples, self.negatives, self.seed = examples, negatives, seed
        first: dict[bytes, int] = {}  # by digest, because the texts may not fit in memory
        digests = (hashlib.blake2b(text.encode(), digest_size=16).digest() for text in corpus.texts())
        self.text_ids = np.array([first.setdefault(digest, index) for index, digest in enumerate(digests)])
        if not self.text_ids.any():
            raise DataError(
                f"all {len(self.text_ids)} documents have the same text, so there are no negatives. Add other documents"
            )
        self.relevance = Relevance.from_examples(examples, self.text_ids)

    def __call__(self, examples: np.ndarray, epoch: int) -> SampledCandidates:
        """Return the candidates sampled in an epoch for the examples with the given indices (int64, ``(queries,)``)."""
        text_ids = np.full((len(examples), 1 + self.negatives), -1, np.int64)
        teacher_scores = np.full(text_ids.shape, np.nan, np.float32)
        for row, example in enumerate(examples):
            documents, scores = self.sample_one(int(example), epoch)
            text_ids[row, : len(documents)] = self.text_ids[documents]
            teacher_scores[row, : len(scores)] = scores
        return SampledCandidates(text_ids, teacher_scores)

    def sample_one(self, index: int, epoch: int) -> tuple[list[int], list[float]]:
        """Return the documents sampled for an example, a relevant one first, and their teacher scores, if any."""
        example, generator = self.examples[index], np.random.default_rng([self.seed, epoch, index])
        scores = np.array(example.positive_scores or [0.0] * len(example.positives))
        with_score = np.flatnonzero(~np.isnan(scores))
        positive = int(with_score[generator.integers(len(with_score))])
        relevant = set(self.relevance.of(index))
        pool = [n for n, document in enumerate(example.negatives) if int(self.text_ids[document]) not in relevant]
        count = min(self.negatives, len(pool))
        negatives = [pool[n] for n in generator.choice(len(pool), count, replace=False)] if count else []
        documents = [example.positives[positive], *(example.negatives[n] for n in negatives)]
        if not example.positive_scores:
            return documents, []
        return documents, [example.positive_scores[positive], *(example.negative_scores[n] for n in negatives)]

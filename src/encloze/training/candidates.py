"""Which documents a query is trained with: what is relevant to it, and the negatives that it takes in an epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.records import Example
from encloze.data.words import normalized
from encloze.errors import DataError


class Relevance(NamedTuple):
    """The relevant texts of each example, one after the other."""

    begins: np.ndarray  # int64, examples + 1
    contents: np.ndarray  # int64: numbers of texts

    @classmethod
    def of(cls, examples: Sequence[Example], content: np.ndarray) -> Relevance:
        """Queries of the same words are one question: what is relevant to one is so to the other."""
        by_words: dict[str, set[int]] = {}
        asked = [normalized(example.query) for example in examples]
        for words, example in zip(asked, examples, strict=True):
            by_words.setdefault(words, set()).update(int(content[n]) for n in (*example.positives, *example.known))
        known = [sorted(by_words[words]) for words in asked]
        begins = np.concatenate([[0], np.cumsum([len(some) for some in known])]).astype(np.int64)
        return cls(begins, np.array([number for some in known for number in some], np.int64))

    def of_examples(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The relevant texts of some examples: the row of each and its number."""
        sizes = self.begins[numbers + 1] - self.begins[numbers]
        rows = np.repeat(np.arange(len(numbers)), sizes)
        inside = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return rows, self.contents[self.begins[numbers][rows] + inside]


class Drawn(NamedTuple):
    """The candidates of some queries, a relevant one first."""

    contents: np.ndarray  # int64, queries x candidates: numbers of texts, -1 where a query has fewer
    teacher: np.ndarray  # float32, queries x candidates: a teacher's scores, NaN where there is none


class CandidateDraw:
    """Draws candidates from (seed, epoch, example).

    Each epoch a query takes one of its relevant documents and ``negatives`` of its hard negatives. Documents with the
    same text are one (``content`` gives the number of the first of them), so no copy of a positive is ever a negative.
    """

    def __init__(self, corpus: Corpus, examples: Sequence[Example], negatives: int, seed: int) -> None:
        self.examples, self.negatives, self.seed = examples, negatives, seed
        first: dict[bytes, int] = {}  # by digest: the texts themselves may be more than memory holds
        digests = (hashlib.blake2b(text.encode(), digest_size=16).digest() for text in corpus.texts())
        self.content = np.array([first.setdefault(digest, number) for number, digest in enumerate(digests)])
        if not self.content.any():
            raise DataError(f"all {len(self.content)} documents have the same text: there is nothing to tell apart")
        self.relevance = Relevance.of(examples, self.content)

    def __call__(self, numbers: np.ndarray, epoch: int) -> Drawn:
        """The candidates of the examples with these numbers."""
        contents = np.full((len(numbers), 1 + self.negatives), -1, np.int64)
        teacher = np.full(contents.shape, np.nan, np.float32)
        for row, number in enumerate(numbers):
            documents, scores = self.of(int(number), epoch)
            contents[row, : len(documents)] = self.content[documents]
            teacher[row, : len(scores)] = scores
        return Drawn(contents, teacher)

    def of(self, number: int, epoch: int) -> tuple[list[int], list[float]]:
        """The documents that an example takes, a relevant one first, and a teacher's scores of them."""
        example, draw = self.examples[number], np.random.default_rng([self.seed, epoch, number])
        scores = np.array(example.positive_scores or [0.0] * len(example.positives))
        scored = np.flatnonzero(~np.isnan(scores))
        at = int(scored[draw.integers(len(scored))])
        begin, end = self.relevance.begins[number], self.relevance.begins[number + 1]
        known = set(self.relevance.contents[begin:end].tolist())
        against = [n for n, document in enumerate(example.negatives) if int(self.content[document]) not in known]
        count = min(self.negatives, len(against))
        chosen = [against[n] for n in draw.choice(len(against), count, replace=False)] if count else []
        documents = [example.positives[at], *(example.negatives[n] for n in chosen)]
        if not example.positive_scores:
            return documents, []
        return documents, [example.positive_scores[at], *(example.negative_scores[n] for n in chosen)]

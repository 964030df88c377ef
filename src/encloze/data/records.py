"""What travels between the rooms of encloze: records with a name for each field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Document(NamedTuple):
    """A text that can be found.

    ``source`` is the longer text it was cut from, ``position`` its place in there: neighbours share a source.
    """

    id: str
    title: str
    text: str
    source: str | None = None
    position: int | None = None


class Query(NamedTuple):
    """A text that asks."""

    id: str
    text: str


class Question(NamedTuple):
    """A text that asks, and the ids of the documents that answer it: a query that is not yet known by an id."""

    text: str
    documents: list[str]


class Judgment(NamedTuple):
    """How relevant a document is to a query: 0 is not at all, higher is more."""

    query: str
    document: str
    grade: int


class Hit(NamedTuple):
    """A found document with its score; ``parts`` holds the score of each index that took part in a fusion."""

    id: str
    score: float
    parts: dict[str, float] = {}  # noqa: RUF012 - never written to


class Labelled(NamedTuple):
    """A text with its label, or the words of a text with a label (a tag) each."""

    text: str
    labels: tuple[str, ...]
    """One for the whole text, or one for each word."""
    words: tuple[str, ...] | None = None
    """Where words are labelled: what the text consists of, with blanks between."""


Run = dict[str, dict[str, float]]
"""Rankings by query: the scores of the found documents by their ids."""

Judgments = dict[str, dict[str, int]]
"""Grades by query and document."""


@dataclass(frozen=True)
class Example:
    """One query of a training set: numbers of its relevant documents and of its hard negatives in the corpus."""

    query: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = ()
    positive_scores: tuple[float, ...] = ()
    """A teacher's scores of the positives, where there is one: as many, NaN for those that it did not score."""
    negative_scores: tuple[float, ...] = ()
    """A teacher's scores of the negatives, likewise."""
    known: tuple[int, ...] = ()
    """All documents known to be relevant to the question, whoever asks it: none of them is a negative."""


def full_text(title: str, text: str) -> str:
    """What an encoder or an analyzer reads of a document: its title, if any, then its text."""
    return f"{title} {text}" if title else text


class Representation(NamedTuple):
    """The views of texts, one row a text: arrays where they are searched, tensors where they are learnt."""

    dense: Any = None
    """float32, texts x width: a numpy array or a tensor."""
    sparse: Any = None
    """float32, texts x vocabulary: scipy's csr_matrix or a dense tensor."""


class Ranked(NamedTuple):
    """What an index finds for a batch of queries, best first; number -1 where it found fewer than asked."""

    numbers: np.ndarray  # int64, queries x depth: document numbers
    scores: np.ndarray  # float32, queries x depth

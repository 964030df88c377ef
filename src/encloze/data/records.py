"""What travels between the rooms of encloze: records with a name for each field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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


Run = dict[str, dict[str, float]]
"""Rankings by query: the scores of the found documents by their ids."""

Judgments = dict[str, dict[str, int]]
"""Grades by query and document."""


@dataclass(frozen=True)
class Example:
    """One query of a training set: numbers of its relevant documents and of its hard negatives in the corpus."""

    query: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = field(default=())


def full_text(title: str, text: str) -> str:
    """What an encoder or an analyzer reads of a document: its title, if any, then its text."""
    return f"{title} {text}" if title else text


class Representation(NamedTuple):
    """Texts as an index sees them: one row a text."""

    dense: np.ndarray | None = None  # float32, texts x width
    sparse: csr_matrix | None = None  # float32, texts x vocabulary


class Ranked(NamedTuple):
    """What an index finds for a batch of queries, best first; number -1 where it found fewer than asked."""

    numbers: np.ndarray  # int64, queries x depth: document numbers
    scores: np.ndarray  # float32, queries x depth

"""Data types that all packages of encloze use, such as documents, queries, judgments, runs and search hits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Fields = Mapping[str, Any]
"""Extra fields of a document, such as a rating: JSON values by name. Dates are ISO 8601 texts."""


class Document(NamedTuple):
    """A text that can be retrieved.

    Example:
        >>> Document("d1", "Rivers", "A river flows into the sea.").title
        'Rivers'
    """

    id: str
    """Identifier, unique within a corpus."""
    title: str
    """Title; empty if there is none."""
    text: str
    """Text without the title."""
    source: str | None = None
    """Identifier of the longer text that the document was cut from, if it is a passage."""
    position: int | None = None
    """Position of the passage in the text that it was cut from (``source``). Neighboring passages have consecutive
    positions."""
    fields: Fields = {}  # noqa: RUF012 - never written to
    """All other values of the row that the document was read from, such as a date: JSON values by name."""


class Query(NamedTuple):
    """A search query.

    Example:
        >>> Query("q1", "where do rivers end").text
        'where do rivers end'
    """

    id: str
    """Identifier, unique within a data set."""
    text: str
    """Text of the query."""


class LabeledQuery(NamedTuple):
    """The text of a query and the ids of its relevant documents, before the query has an id."""

    text: str
    document_ids: list[str]


class Judgment(NamedTuple):
    """The relevance of a document to a query.

    Example:
        >>> Judgment("q1", "d1", 2).grade
        2
    """

    query: str
    """Id of the query."""
    document: str
    """Id of the document."""
    grade: int
    """Degree of relevance: 0 means not relevant, higher means more relevant."""


class Hit(NamedTuple):
    """A document that a search found.

    Attributes:
        id: Id of the document.
        score: Score that the hits are ranked by.
        parts: Further scores of the document, by name: the score of each dense or sparse search if several were
            combined and, with a re-ranker, the score before re-ranking.
        document: The document itself; None if the search returns only ids.
        explanation: Why the document is a hit; None if that was not requested.
    """

    id: str
    score: float
    parts: dict[str, float] = {}  # noqa: RUF012 - never written to
    document: Document | None = None
    explanation: Any = None  # an Explanation

    @property
    def title(self) -> str:
        """The title of the document; empty if it has none or ``document`` is None."""
        return self.document.title if self.document else ""

    @property
    def text(self) -> str:
        """The text of the document; empty if ``document`` is None."""
        return self.document.text if self.document else ""

    @property
    def fields(self) -> Fields:
        """The extra fields of the document, such as a date; empty if it has none or ``document`` is None."""
        return self.document.fields if self.document else {}


class LabeledText(NamedTuple):
    """A text with one label, or a sequence of words with one label (a tag) per word."""

    text: str
    """The text. If words are labeled, it is the words joined by spaces."""
    labels: tuple[str, ...]
    """One label per word if words are labeled; otherwise a tuple that contains only the label of the text."""
    words: tuple[str, ...] | None = None
    """The labeled words, or None if the whole text has one label."""


Run = dict[str, dict[str, float]]
"""A run: the score of each retrieved document, by query id and document id."""

Judgments = dict[str, dict[str, int]]
"""Relevance judgments: the grade of each judged document, by query id and document id."""


@dataclass(frozen=True)
class TrainingExample:
    """A query with the row numbers, in the corpus, of its relevant documents and hard negatives."""

    query: str
    """Text of the query."""
    positives: tuple[int, ...]
    """Row numbers in the corpus of the documents that are judged relevant to the query."""
    negatives: tuple[int, ...] = ()
    """Hard negatives, as row numbers in the corpus, in the order of the run that they were taken from (best first)."""
    positive_scores: tuple[float, ...] = ()
    """Scores that a teacher model gave to the positives; NaN for a positive without a score. Empty if there is no
    teacher."""
    negative_scores: tuple[float, ...] = ()
    """Scores that a teacher model gave to the negatives. Empty if there is no teacher."""
    relevant: tuple[int, ...] = ()
    """Row numbers in the corpus of all documents that are relevant to any query with the same text. They are never
    used as negatives."""


def full_text(title: str, text: str) -> str:
    """Return the title, if any, followed by the text of a document. Encoders and analyzers read this string."""
    return f"{title} {text}" if title else text


class Representation(NamedTuple):
    """Dense vectors, sparse vectors, or both, of a batch of texts; one row per text."""

    dense: Any = None
    """Dense vectors (float32, texts x dim): a numpy array for search, a tensor in training; None if there are none."""
    sparse: Any = None
    """Sparse vectors (float32, texts x vocabulary): a ``scipy.sparse.csr_matrix`` for search, a dense tensor in
    training; None if there are none."""

    def only(self, kinds: Collection[str]) -> Representation:
        """Return the vectors of some kinds: of ``dense``, ``sparse`` or both."""
        return Representation(*(vectors if kind in kinds else None for kind, vectors in self._asdict().items()))

    @property
    def num_texts(self) -> int:
        """Number of texts."""
        return int((self.sparse if self.dense is None else self.dense).shape[0])

    @classmethod
    def concatenate(cls, parts: Sequence[Representation]) -> Representation:
        """Return the vectors of several batches in one object. All batches must have the same kinds (dense, sparse)."""
        if len(parts) == 1:
            return parts[0]
        dense, sparse = [part.dense for part in parts], [part.sparse for part in parts]
        embeddings = None if dense[0] is None else np.concatenate(dense)
        if sparse[0] is None:
            return cls(embeddings)
        from scipy.sparse import vstack  # a search with embeddings does not need it

        return cls(embeddings, vstack(sparse, "csr"))


class SearchResults(NamedTuple):
    """The best documents in an index for each query of a batch, best first."""

    numbers: np.ndarray
    """Row numbers of the documents in the corpus: int64 array with one row per query and one column per rank; -1 where
    fewer documents were found."""
    scores: np.ndarray
    """Scores of the documents in ``numbers``: float32 array of the same shape."""

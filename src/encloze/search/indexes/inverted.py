"""Exact search over sparse term weights: every document that contains a term of the query is scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.indexes.base import Index
from encloze.search.npy_files import damaged
from encloze.search.postings import Postings, PostingsWriter
from encloze.search.postings_search import PostingsSearcher, QueryTerms
from encloze.search.segment import Segment
from encloze.storage.json_files import read_json, write_json

if TYPE_CHECKING:  # a search with BM25 does not need scipy
    from scipy.sparse import csr_matrix

_SHAPE = "shape.json"
_DTYPES: dict[str, type[np.generic]] = {"float32": np.float32, "float16": np.float16, "uint8": np.uint8}
_ROWS = 2**16  # documents read at a time; each time, all document numbers are looked through


@dataclass(frozen=True)
class Inverted(Index, name="inverted"):
    """Inverted index: exact inner product over sparse term weights, memory-mapped; 5 to 8 bytes per non-zero weight.

    Example:
        >>> from scipy.sparse import csr_matrix
        >>> weights = csr_matrix(np.array([[0.0, 1.5], [2.0, 0.0]], dtype=np.float32))
        >>> Inverted().build(Representation(sparse=weights), folder)
        >>> Inverted().open(folder).search(Representation(sparse=weights[:1]), depth=1).numbers
        array([[0]])
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "sparse"

    impacts: Literal["float32", "float16", "uint8"] = "float32"
    """Type in which term weights are stored: 4, 2 or 1 bytes. uint8 rounds all weights to multiples of a step, of which
    the highest weight has 128 to 255, and needs weights above 0."""

    def builder(self, folder: Path) -> InvertedBuilder:
        """Return a builder that writes a new index into an existing empty folder."""
        return InvertedBuilder(folder, _DTYPES[self.impacts])

    def open(self, folder: Path) -> InvertedSearcher:
        """Return a searcher over the index in ``folder``."""
        postings, shape = self._open(folder)
        return InvertedSearcher(postings, shape.documents, shape.step)

    def _open(self, folder: Path) -> tuple[Postings, _Shape]:
        """Return the postings in a folder, and their shape. Raises CheckpointError if they are damaged."""
        stored = read_json(folder / _SHAPE, dict[str, Any])
        counts, step = [stored.get(name, -1) for name in ("documents", "terms")], stored.get("step", 1.0)
        if not all(isinstance(count, int) and 0 <= count < 2**31 for count in counts):
            raise damaged(folder / _SHAPE, "expected the numbers of documents and terms")
        if not isinstance(step, float) or not 0 < step < math.inf:
            raise damaged(folder / _SHAPE, "expected a step above 0")
        shape = _Shape(counts[0], counts[1], step)
        postings = Postings.open(folder, shape.documents, dtype=_DTYPES[self.impacts])
        if len(postings.offsets) != shape.terms + 1:
            raise damaged(folder / _SHAPE, f"the index has {len(postings.offsets) - 1} terms, not {shape.terms}")
        return postings, shape

    def read(self, segment: Segment) -> Iterator[Representation]:
        """Yield the term weights of the documents that have not been deleted (see ``Index.read``)."""
        from scipy.sparse import csr_matrix

        postings, shape = self._open(segment.folder)
        for start in range(0, shape.documents, _ROWS):
            end = min(start + _ROWS, shape.documents)
            positions = postings.positions_of(start, end)
            terms = np.searchsorted(postings.offsets, positions, side="right") - 1
            where = postings.documents[positions] - start, terms
            values = postings.values[positions].astype(np.float32) * np.float32(shape.step)
            rows = csr_matrix((values, where), (end - start, shape.terms))
            yield Representation(sparse=rows if segment.live is None else rows[segment.live[start:end]])


class _Shape(NamedTuple):
    documents: int
    terms: int
    step: float  # of which the stored values are multiples


class InvertedBuilder:
    """Builder of an inverted index."""

    def __init__(self, folder: Path, dtype: type[np.generic]) -> None:
        self._folder, self._postings, self._dtype = folder, PostingsWriter(folder, dtype), dtype
        self._num_documents = self._num_terms = 0

    def add(self, documents: Iterable[str] | Representation) -> None:
        """Add the term weights of documents.

        Raises:
            TypeError: Texts were given.
            ValueError: A weight is negative, and weights are stored in uint8.
        """
        weights = _require_sparse(documents)
        if self._dtype is np.uint8 and weights.data.min(initial=0) < 0:
            raise ValueError("impacts uint8 needs term weights above 0, and the model has negative ones. Use float16")
        rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
        self._postings.add(self._num_documents + rows, weights.indices, weights.data)
        self._num_documents, self._num_terms = self._num_documents + weights.shape[0], weights.shape[1]

    def finish(self) -> None:
        """Write the index."""
        self._postings.finish(self._num_terms)
        shape = {"terms": self._num_terms, "documents": self._num_documents, "step": self._postings.step}
        write_json(self._folder / _SHAPE, shape)


class InvertedSearcher:
    """Searcher over an inverted index."""

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "sparse"

    def __init__(self, postings: Postings, num_documents: int, step: float = 1.0) -> None:
        self._postings, self._step = PostingsSearcher(postings, num_documents), step
        self.num_documents: int = num_documents
        self.dim: int | None = len(postings.offsets) - 1

    def search(
        self, queries: Sequence[str] | Representation, depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Return the ``depth`` best documents of each query (see ``IndexSearcher.search``).

        Documents with a score of 0 or less are never returned. A score is 0 if the document shares no term with the
        query. It can be negative only with the model head ``ordinary_tokens``, whose term weights can be negative.
        """
        return self._postings.search(self._query_terms(_require_sparse(queries)), depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query (see ``IndexSearcher.score``)."""
        return self._postings.score(self._query_terms(_require_sparse(queries)), numbers)

    def _query_terms(self, weights: csr_matrix) -> list[QueryTerms]:
        """Return the terms of each query, as pairs (term number, weight of a stored value)."""
        rows, data = (slice(start, end) for start, end in pairwise(weights.indptr)), weights.data * self._step
        return [list(zip(weights.indices[row].tolist(), data[row].tolist(), strict=True)) for row in rows]


def _require_sparse(texts_or_views: Iterable[str] | Representation) -> csr_matrix:
    """Return the sparse term weights of a representation. Raises TypeError if the representation has none."""
    if not isinstance(texts_or_views, Representation) or texts_or_views.sparse is None:
        raise TypeError("an inverted index takes a Representation with sparse term weights. Encode the texts first")
    return texts_or_views.sparse

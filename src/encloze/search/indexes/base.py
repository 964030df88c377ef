"""Interface of search indexes: settings, builder and searcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.family import Family
from encloze.search.segment import Opened, Segment, open_once
from encloze.search.segments import SegmentedSearcher
from encloze.storage.disk import size_of


class IndexSearcher(Protocol):
    """Protocol of opened indexes. Documents are numbered from 0 in the order in which they were added."""

    @property
    def input_type(self) -> Literal["text", "dense", "sparse"]:
        """Input type of the index (see ``Index``)."""
        ...

    num_documents: int
    """Number of indexed documents."""
    dim: int | None
    """Number of dimensions of the representations: of embeddings, or terms of the vocabulary; None for texts."""

    def search(
        self, queries: Sequence[str] | Representation, depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Return the ``depth`` best documents of each query.

        Args:
            queries: A list of query texts, or a ``Representation`` of the queries, depending on ``input_type``.
            depth: Maximum number of documents per query.
            allowed: Which documents may be returned, such as those that pass a filter: bool, (documents,). The best of
                them are returned, as many as if the index had no others. All by default.

        Returns:
            Document numbers and scores, each with one row for each query and at most ``depth`` columns, best first. If
            fewer documents are found, the remaining numbers are -1.
        """
        ...

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query, even if a search would not return them.

        Args:
            queries: A list of query texts, or a ``Representation`` of the queries, depending on ``input_type``.
            numbers: For each query, the numbers of the documents to score.

        Returns:
            For each query a float32 array of scores, in the order of its document numbers.
        """
        ...


class IndexBuilder(Protocol):
    """Protocol of index builders, which receive the documents in batches and keep at most one batch in memory."""

    def add(self, documents: Iterable[str] | Representation) -> None:
        """Add documents: their texts, or a ``Representation`` of them, depending on the index's ``input_type``."""
        ...

    def finish(self) -> None:
        """Write the index. No document can be added afterwards."""
        ...


class Growth(NamedTuple):
    """Quantities that the costs of an index of some number of documents follow, for predictions from small indexes."""

    build: float
    """Work of the build in any unit, such as the number of documents; the time is proportional to it."""
    search: float
    """Work of a search in any unit, such as the number of compared vectors; the time is a constant plus a multiple."""
    fixed_bytes: int = 0
    """Bytes of the index that are not proportional to the number of documents, such as those of centroids."""
    build_bytes: int = 0
    """Bytes that the build needs in memory in addition to the index, such as those of a training sample."""


@dataclass(frozen=True)
class Index(Family):
    """Base class of search indexes. An instance contains the settings of an index, and builds and opens the index.

    Example:
        >>> from encloze.search.indexes.bm25 import Bm25
        >>> index = Bm25(k1=0.9, b=0.4)
        >>> index.build(["rivers flow into the sea", "engines need fuel"], folder)
        >>> index.open(folder).search(["engines"], depth=1).numbers
        array([[1]])
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]]
    """Input of the index: texts, embeddings (dense) or term weights (sparse)."""
    min_documents: ClassVar[int] = 1
    """Number of documents from which the index is built; smaller collections are searched exactly."""

    @property
    def label(self) -> str:
        """Name for tables with the type of the stored values, such as ``ivf int8, 192 dimensions`` or ``bm25``."""
        if self.input_type == "text":
            return str(self.name)
        kind = getattr(self, "storage", None) or getattr(self, "impacts", None) or "float32"
        dim = getattr(self, "dim", None)
        return f"{self.name} {kind}" + (f", {dim} dimensions" if dim else "")

    def growth(self, documents: int, dim: int) -> Growth:
        """Return what the costs of the index with this number of documents follow; by default the number itself.

        Args:
            documents: Number of documents.
            dim: Number of dimensions of the representations; 0 for texts.
        """
        return Growth(documents, documents)

    def with_defaults(self, texts: Callable[[], Sequence[str]]) -> Self:
        """Return the settings, completed by defaults that depend on the documents, such as the analyzer of BM25.

        Args:
            texts: Function that returns a sample of the documents. It is called only if a default depends on them.
        """
        return self

    def builder(self, folder: Path) -> IndexBuilder:
        """Return a builder that writes a new index into an existing empty folder."""
        raise NotImplementedError(type(self).__name__)

    def build(self, documents: Iterable[str] | Representation, folder: Path) -> None:
        """Build the index of ``documents`` in an existing empty folder."""
        texts = [] if isinstance(documents, Representation) else list(documents)
        builder = self.with_defaults(lambda: texts).builder(folder)
        builder.add(documents if isinstance(documents, Representation) else texts)
        builder.finish()

    def open(self, folder: Path) -> IndexSearcher:
        """Return a searcher over the index in ``folder``. Large arrays are memory-mapped.

        When the files are opened for the first time, they are read and checked, so that no file can make a search fail.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        raise NotImplementedError(type(self).__name__)

    def memory(self, folder: Path) -> int:
        """Return the bytes of the files in ``folder`` that searches compare with queries, by default of all files."""
        return size_of(folder)

    def read(self, segment: Segment) -> Iterator[Representation]:
        """Yield the representations of the documents in an index that have not been deleted, in their order.

        An index of texts has none: it is merged from the texts of its documents.
        """
        raise NotImplementedError(type(self).__name__)

    def open_segments(self, segments: Sequence[Segment], opened: Opened | None = None) -> IndexSearcher:
        """Return a searcher over the indexes of several segments (see ``SegmentedSearcher``).

        It finds the same documents with the same scores as an index that is built at once from all documents that have
        not been deleted.

        Args:
            segments: The segments.
            opened: What was opened of this index before, which is used again where it is unchanged, and updated.
        """
        parts, live = open_once(segments, self.open, opened), [segment.live for segment in segments]
        if len(parts) == 1 and live[0] is None:
            return parts[0]
        return SegmentedSearcher(parts, live, self.input_type)

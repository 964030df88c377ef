"""A data set: documents, queries, and judgments in splits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.in_memory import dataset_format, format_of, pairs_format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Query
from encloze.data.rows import describe
from encloze.errors import DataError


class Dataset:
    """A data set: documents, queries, and relevance judgments in splits.

    The files are read when documents, queries or judgments are accessed for the first time.

    Example:
        >>> data = Dataset.from_dicts(
        ...     corpus=[{"id": "d1", "text": "Rivers flow into the sea."}],
        ...     queries={"q1": "where do rivers end"},
        ...     qrels={"test": {"q1": {"d1": 1}}},
        ... )
        >>> data.splits
        ['test']
        >>> data.split("test").judgments
        {'q1': {'d1': 1}}
    """

    def __init__(self, format_: Format) -> None:
        """Create a data set that ``format_`` reads.

        Args:
            format_: Format that reads the data set. ``Dataset.load`` recognizes the format of a path.

        Raises:
            DataError: ``format_`` is not a ``Format``.
        """
        if not isinstance(format_, Format):
            raise DataError(f"Dataset: expected a Format, found {describe(format_)}. Open it with Dataset.load")
        self.format = format_

    @classmethod
    def load(cls, source: Any) -> Dataset:
        """Open a data set.

        Args:
            source: A folder in BEIR or MS MARCO layout, or a file or folder in any other known format; the name of a
                format (``python_docs``); a ``Format``; or a mapping (also a ``datasets.DatasetDict``). The keys of a
                mapping are ``corpus``, ``queries`` and ``qrels``; or they are splits, and the values are rows of pairs
                with columns such as ``anchor`` and ``positive``.

        Raises:
            DataError: The source does not exist, is not recognized, or has no judgments.
        """
        format_ = format_of(source)
        if not format_.splits():
            raise DataError(
                f"{format_.location()} has documents, but no queries with judgments ({format_.name} format). "
                f"Open it with Corpus.load to read the documents. {format_.judgments_remedy()}"
            )
        return cls(format_)

    @classmethod
    def from_dicts(cls, corpus: Any, queries: Any, qrels: Any) -> Dataset:
        """Create a data set from data in memory, which is written to the cache.

        Args:
            corpus: Rows of documents with ``id``, ``text`` and optionally ``title``: a list of dictionaries, a data
                frame, a ``datasets.Dataset`` or a ``DatasetDict`` with one split.
            queries: Rows with ``id`` and ``text``, or a mapping of ids to texts.
            qrels: Judgments by split: ``{"train": {"q1": {"d1": 1}}}``, or rows with ``query-id``, ``corpus-id`` and
                ``score`` for each split. Judgments without a split belong to ``test``.

        Raises:
            DataError: A row lacks a column.
        """
        return cls(dataset_format(corpus, queries, qrels))

    @classmethod
    def from_pairs(cls, pairs: Any) -> Dataset:
        """Create a data set from pairs of a query and a relevant document.

        Args:
            pairs: Rows with a query column (``anchor``, ``query`` or ``question``) and a document column (``positive``,
                ``answer``, ``document``, ``passage`` or ``text``), which become the split ``train``. Or a mapping of
                split names to such rows.

        Raises:
            DataError: A row lacks one of the two columns.
        """
        return cls(pairs_format(pairs if isinstance(pairs, Mapping) else {"train": pairs}))

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have judgments."""
        return self.format.splits()

    @cached_property
    def corpus(self) -> Corpus:
        """The documents."""
        return Corpus.from_format(self.format)

    @cached_property
    def queries(self) -> list[Query]:
        """All queries of the data set, including queries that have no judgment in any split."""
        faults = ErrorCollector()
        queries = list(self.format.queries(faults))
        faults.raise_if_any()
        return queries

    def split(self, name: str) -> DatasetSplit:
        """Return one split. If it does not exist, the first access to its queries or judgments raises DataError."""
        return DatasetSplit(self.format, name)

    @property
    def path(self) -> Path | str:
        """Folder or file from which the data set is read, or the name of its format."""
        return self.format.location()

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, format={self.format.name!r}, splits={self.splits})"

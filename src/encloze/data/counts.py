"""Numbers of queries and documents of a split, and of judged ones without a text or not in the corpus."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple, Self

from encloze.data.records import Judgments


class DatasetCounts(NamedTuple):
    """Numbers of queries and documents of a split, and of those that are incomplete, such as queries without a text.

    A count is None if the files with the queries or documents to count were not read.

    Example:
        >>> counts = DatasetCounts.from_judgments({"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 0}})
        >>> counts.warnings()
        ['1 judged queries have no relevant document: their score is 0']
    """

    judged_queries: int
    """Number of queries with judgments in the split."""
    queries_without_relevant: int
    """Number of judged queries without a document of grade 1 or more."""
    queries: int | None = None
    """Number of queries with a text, in all splits."""
    queries_without_text: int | None = None
    """Number of judged queries without a text."""
    documents: int | None = None
    """Number of documents in the corpus."""
    missing_documents: int | None = None
    """Number of judged documents that are not in the corpus."""
    queries_without_documents: int | None = None
    """Number of judged queries whose relevant documents are all missing from the corpus."""

    @classmethod
    def from_judgments(cls, judgments: Judgments) -> Self:
        """Return the counts that can be computed from the judgments of a split alone; the other counts are None."""
        return cls(len(judgments), sum(not any(g > 0 for g in grades.values()) for grades in judgments.values()))

    @classmethod
    def from_dict(cls, content: dict[str, Any] | None) -> Self | None:
        """Return the counts that were saved in a result file, or None if the file contains no counts."""
        return cls(**content) if content else None

    def with_queries(self, judgments: Judgments, query_count: int, ids_with_text: Set[str]) -> DatasetCounts:
        """Return a copy of these counts in which ``queries`` and ``queries_without_text`` are set.

        Args:
            judgments: Judgments of the split.
            query_count: Number of queries with a text, in all splits.
            ids_with_text: Ids of the judged queries that have a text.
        """
        return self._replace(queries=query_count, queries_without_text=len(judgments.keys() - ids_with_text))

    def with_documents(self, judgments: Judgments, document_count: int, known_ids: Set[str]) -> DatasetCounts:
        """Return a copy of these counts in which the counts that depend on the corpus are set.

        These are ``documents``, ``missing_documents`` and ``queries_without_documents``.

        Args:
            judgments: Judgments of the split.
            document_count: Number of documents in the corpus.
            known_ids: Ids that judgments can refer to: the ids of the documents in the corpus, or of the longer texts
                that the documents were cut from.
        """
        relevant = [{d for d, grade in grades.items() if grade > 0} for grades in judgments.values()]
        missing = {document for grades in judgments.values() for document in grades} - known_ids
        return self._replace(
            documents=document_count,
            missing_documents=len(missing),
            queries_without_documents=sum(bool(ids) and not ids & known_ids for ids in relevant),
        )

    def size_suffix(self) -> str:
        """Return ``", N documents"`` for headings, or an empty string if the documents were not counted."""
        return "" if self.documents is None else f", {self.documents:,} documents"

    def warnings(self) -> list[str]:
        """Return a message for each count of incomplete queries or documents above 0, with the effect on the scores."""
        messages = {
            "queries_without_text": "judged queries have no text: they are skipped",
            "queries_without_relevant": "judged queries have no relevant document: their score is 0",
            "queries_without_documents": "judged queries have no relevant document in the corpus: their score is 0",
            "missing_documents": "judged documents are not in the corpus: no system that searches it can retrieve them",
        }
        return [f"{count:,} {message}" for name, message in messages.items() if (count := getattr(self, name))]

"""How many queries, judgments and documents a split has, and how many of them do not fit together."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple, Self

from encloze.data.records import Judgments


class Counts(NamedTuple):
    """What stands beside every result; None where it was not read, as with run files alone."""

    judged: int
    """Queries that are judged in the split."""
    none_relevant: int
    """Of these, queries without a document of a grade above 0."""
    queries: int | None = None
    """Queries with a text, of all splits."""
    no_text: int | None = None
    """Judged queries without one."""
    documents: int | None = None
    lost: int | None = None
    """Judged documents that the corpus lacks."""
    all_lost: int | None = None
    """Queries whose relevant documents it lacks, all of them."""

    @classmethod
    def of(cls, judgments: Judgments) -> Self:
        grades = judgments.values()
        return cls(len(judgments), sum(not any(grade > 0 for grade in some.values()) for some in grades))

    def with_queries(self, judgments: Judgments, queries: int, known: Set[str]) -> Counts:
        """``known`` are the judged queries that have a text."""
        return self._replace(queries=queries, no_text=len(judgments.keys() - known))

    def with_documents(self, judgments: Judgments, documents: int, known: Set[str]) -> Counts:
        """``known`` is what judgments can name of the corpus."""
        relevant = [{d for d, grade in some.items() if grade > 0} for some in judgments.values()]
        lost = {document for some in judgments.values() for document in some} - known
        all_lost = sum(bool(some) and not some & known for some in relevant)
        return self._replace(documents=documents, lost=len(lost), all_lost=all_lost)

    @classmethod
    def read(cls, said: dict[str, Any] | None) -> Self | None:
        """What stands in a file; None where there is nothing."""
        return cls(**said) if said else None

    def size(self) -> str:
        """The number of documents, to stand behind that of the queries; empty where it is not known."""
        return "" if self.documents is None else f", {self.documents:,} documents"

    def told(self) -> list[str]:
        """What does not fit together, and what comes of it."""
        says = {
            "no_text": "judged queries have no text: they are left out",
            "none_relevant": "judged queries have no relevant document: they count 0",
            "all_lost": "judged queries ask for documents that are not in the corpus, all of them: they count 0",
            "lost": "judged documents are not in the corpus: no system that reads it can find them",
        }
        return [f"{count:,} {what}" for name, what in says.items() if (count := getattr(self, name))]

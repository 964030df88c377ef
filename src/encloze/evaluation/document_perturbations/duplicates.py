"""Duplicates: copies of the documents that are not relevant to any query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.evaluation.document_perturbations.base import DocumentPerturbation, check_count, relevant_ids


@dataclass(frozen=True)
class Duplicates(DocumentPerturbation, name="duplicates"):
    """Add copies of every document that is relevant to no query, so that irrelevant documents occupy more ranks."""

    copies: int = 1
    """Number of copies of each irrelevant document."""

    def __post_init__(self) -> None:
        check_count("copies", self.copies)

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        # Queries that are documents of the collection get no copies: ignore_identical_ids would not remove the copy.
        excluded = relevant_ids(dataset) | {query.id for query in dataset.queries}
        for document in dataset.corpus:
            yield document
            if document.id not in excluded:
                yield from (document._replace(id=f"{document.id} copy {n + 1}") for n in range(self.copies))

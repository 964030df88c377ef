"""Documents that stand in the collection several times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.evaluation.document_perturbations.base import DocumentPerturbation, check_count, relevant


@dataclass(frozen=True)
class Duplicates(DocumentPerturbation, name="duplicates"):
    """Every document that is relevant to no query stands there more than once; a wrong hit brings its copies along."""

    copies: int = 1
    """How many copies of each there are beside it."""

    def __post_init__(self) -> None:
        check_count("copies", self.copies)

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        # A query that is a document itself would find its own copy, which no rule of own ids leaves out.
        wanted = relevant(dataset) | {query.id for query in dataset.queries}
        for document in dataset.corpus:
            yield document
            if document.id not in wanted:
                yield from (document._replace(id=f"{document.id} copy {n + 1}") for n in range(self.copies))

"""A burden: a data set's documents, made harder to search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.family import Family


@dataclass(frozen=True)
class DocumentPerturbation(Family):
    """A way in which a collection grows harder, while its queries and judgments stay true."""

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        """All documents, burdened; those that were there keep their ids, and no new one is relevant to anything."""
        raise NotImplementedError(type(self).__name__)


def relevant(dataset: DatasetSplit) -> set[str]:
    """The ids of the documents that are relevant to any query of the split."""
    return {d for query in dataset.queries for d, grade in dataset.judgments[query.id].items() if grade > 0}


def check_count(name: str, count: int) -> None:
    """Raise ValueError unless a setting is a number of things, one or more."""
    if count < 1:
        raise ValueError(f"{name} must be 1 or more, not {count}")

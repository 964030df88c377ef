"""Interface of document perturbations: changes to the documents of a data set that keep its judgments valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.family import Family


@dataclass(frozen=True)
class DocumentPerturbation(Family):
    """Base class of document perturbations.

    A subclass implements ``documents``. Existing documents must keep their ids, and no added document may be relevant
    to a query, so that the judgments stay valid.

    Example:
        >>> from encloze.evaluation.document_perturbations.duplicates import Duplicates
        >>> Duplicates(copies=2).name
        'duplicates'
    """

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        """Return all documents of the perturbed collection.

        Args:
            dataset: Split whose corpus is perturbed.
            seed: Seed of the random choices.

        Returns:
            All documents of the corpus, changed or not, in the order of the corpus, and added documents at any place.

        Raises:
            DataError: The corpus cannot be perturbed in this way.
        """
        raise NotImplementedError(type(self).__name__)


def relevant_ids(dataset: DatasetSplit) -> set[str]:
    """Return the ids of the documents that are relevant to at least one query of the split."""
    return {d for query in dataset.queries for d, grade in dataset.judgments[query.id].items() if grade > 0}


def check_count(name: str, count: int) -> None:
    """Raise ValueError if the setting ``name`` is below 1."""
    if count < 1:
        raise ValueError(f"{name} must be 1 or more, not {count}")

"""Base class of perturbations that add the text of irrelevant documents to relevant documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.evaluation.document_perturbations.base import DocumentPerturbation, check_count, relevant_ids
from encloze.evaluation.keyed_random import KeyedRandom


@dataclass(frozen=True)
class OtherText(DocumentPerturbation):
    """Perturbation that extends every relevant document by the text of documents that are relevant to no query."""

    num_documents: int = 3
    """Number of irrelevant documents whose text is added to each relevant document."""

    def __post_init__(self) -> None:
        check_count("num_documents", self.num_documents)

    def combine(self, text: str, added: str) -> str:
        """Return the new text of a relevant document: its own text combined with the added text."""
        raise NotImplementedError(type(self).__name__)

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        corpus, relevant = dataset.corpus, relevant_ids(dataset)
        candidates = np.flatnonzero(np.fromiter((id_ not in relevant for id_ in corpus.ids), bool, len(corpus)))
        if not len(candidates):
            raise DataError(
                f"{dataset.format.location()}: every document is relevant to a query of the split {dataset.split!r}, "
                f"so there is no irrelevant text to add. Remove {self.name} from document_perturbations"
            )
        for document in corpus:
            if document.id not in relevant:
                yield document
                continue
            rng = KeyedRandom(seed, document.id)  # without self.name, so that length and position add the same text
            positions = rng.sample(range(len(candidates)), self.num_documents)
            added = "\n".join(corpus[int(candidates[position])].text for position in positions)
            yield document._replace(text=self.combine(document.text, added))

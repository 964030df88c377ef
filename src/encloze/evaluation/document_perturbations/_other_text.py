"""Relevant documents with text of others beside their own: what long documents have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.evaluation.document_perturbations.base import DocumentPerturbation, check_count, relevant
from encloze.evaluation.keyed_random import KeyedRandom


@dataclass(frozen=True)
class WithOthers(DocumentPerturbation):
    """Relevant documents with text of others, which answer no query, beside their own."""

    num_documents: int = 3
    """How many other documents lend each their text."""

    def __post_init__(self) -> None:
        check_count("num_documents", self.num_documents)

    def joined(self, own: str, lent: str) -> str:
        """The text that a relevant document has then."""
        raise NotImplementedError(type(self).__name__)

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        corpus, wanted = dataset.corpus, relevant(dataset)
        rest = np.flatnonzero(np.fromiter((id_ not in wanted for id_ in corpus.ids), bool, len(corpus)))
        if not len(rest):
            raise DataError(
                f"{dataset.format.place()}: every document is relevant to a query of the split {dataset.split!r}, so "
                f"none can lend its text. Leave the burden {self.name} out"
            )
        for document in corpus:
            if document.id not in wanted:
                yield document
                continue
            draw = KeyedRandom(
                seed, document.id
            )  # not by the burden's name: what is behind in length is before in position
            lent = "\n".join(corpus[int(rest[at])].text for at in draw.some(range(len(rest)), self.num_documents))
            yield document._replace(text=self.joined(document.text, lent))

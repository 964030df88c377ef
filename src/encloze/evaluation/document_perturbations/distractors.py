"""Distractors: documents that repeat a query without answering it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Document
from encloze.evaluation.document_perturbations.base import DocumentPerturbation


@dataclass(frozen=True)
class Distractors(DocumentPerturbation, name="distractors"):
    """For each query, add one document whose text is the text of the query."""

    def documents(self, dataset: DatasetSplit, seed: int) -> Iterator[Document]:
        yield from dataset.corpus
        for query in dataset.queries:
            yield Document(f"distractor {query.id}", "", query.text)

"""Published collections of the package ir_datasets, which downloads and caches them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError, importable


@dataclass(frozen=True)
class IrDatasets(Format, name="ir_datasets"):
    """A collection of ir_datasets (https://ir-datasets.com), downloaded once to ~/.ir_datasets.

    The splits of a collection are the ids that begin with its id: ``beir/scifact/train`` is the split ``train`` of
    ``beir/scifact``. For any other split name, the judgments of the collection itself are used, if it has any (as
    ``msmarco-passage/dev/small`` has).
    """

    id: str
    """Id of the collection, such as beir/scifact or msmarco-passage/trec-dl-2019/judged."""

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for document in self._records("docs", self.id):
            body = getattr(document, "text", None) or getattr(document, "body", None)
            title = getattr(document, "title", "") if body else ""
            yield Document(document.doc_id, title or "", body or document.default_text())

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        for query in self._records("queries", self.id):
            yield Query(query.query_id, query.default_text())

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        split_id = f"{self.id}/{split}"
        for judgment in self._records("qrels", split_id if split_id in self._registry() else self.id):
            yield Judgment(judgment.query_id, judgment.doc_id, judgment.relevance)

    def splits(self) -> list[str]:
        prefix = f"{self.id}/"
        ids = [id_ for id_ in self._registry() if id_.startswith(prefix) and self._load(id_).has_qrels()]
        return sorted(id_.removeprefix(prefix) for id_ in ids)

    def location(self) -> str:
        return f"ir_datasets:{self.id}"

    def _registry(self) -> set[str]:
        """Return the ids of all collections that ir_datasets knows."""
        return set(importable("ir_datasets", "benchmarks").registry)

    def _load(self, id_: str) -> Any:
        try:
            return importable("ir_datasets", "benchmarks").load(id_)
        except KeyError:
            raise DataError(
                f"{self.location()}: unknown collection {id_!r}. See https://ir-datasets.com for all ids"
            ) from None

    def _records(self, kind: str, id_: str) -> Iterator[Any]:
        """Yield the documents, queries or judgments of a collection; they are downloaded if necessary."""
        collection = self._load(id_)
        if not getattr(collection, f"has_{kind}")():
            splits = ", ".join(self.splits()) or "none"
            raise DataError(f"{self.location()} has no {kind}. Its splits with judgments: {splits}")
        try:
            yield from getattr(collection, f"{kind}_iter")()
        except (OSError, RuntimeError) as error:  # RuntimeError: all download sources failed
            raise DataError(
                f"{self.location()}: the {kind} cannot be downloaded: {error}. Without network access, set "
                "benchmark.path or dataset to a folder with the published files"
            ) from error

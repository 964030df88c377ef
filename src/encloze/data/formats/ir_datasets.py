"""Published collections by their ids, fetched and kept by the package ir_datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError, importable


@dataclass(frozen=True)
class IrDatasets(Format, name="ir_datasets"):
    """A collection of ir_datasets (https://ir-datasets.com), which fetches it once and keeps it in ~/.ir_datasets.

    Splits are what the collection has below its id (``beir/scifact`` has ``train`` and ``test``); an id that has
    judgments of its own (``msmarco-passage/dev/small``) serves every split that is not below it.
    """

    id: str
    """The collection's id, as beir/scifact or msmarco-passage/trec-dl-2019/judged."""

    def documents(self, faults: Faults) -> Iterator[Document]:
        for document in self._each("docs", self.id):
            body = getattr(document, "text", None) or getattr(document, "body", None)
            title = getattr(document, "title", "") if body else ""
            yield Document(document.doc_id, title or "", body or document.default_text())

    def queries(self, faults: Faults) -> Iterator[Query]:
        for query in self._each("queries", self.id):
            yield Query(query.query_id, query.default_text())

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        below = f"{self.id}/{split}"
        for judged in self._each("qrels", below if below in self._registered() else self.id):
            yield Judgment(judged.query_id, judged.doc_id, judged.relevance)

    def splits(self) -> list[str]:
        begins = f"{self.id}/"
        below = [id_ for id_ in self._registered() if id_.startswith(begins) and self._load(id_).has_qrels()]
        return sorted(id_.removeprefix(begins) for id_ in below)

    def place(self) -> str:
        return f"ir_datasets:{self.id}"

    def _registered(self) -> set[str]:
        return set(importable("ir_datasets", "benchmarks").registry)

    def _load(self, id_: str) -> Any:
        try:
            return importable("ir_datasets", "benchmarks").load(id_)
        except KeyError:
            raise DataError(
                f"{self.place()}: there is no collection {id_!r}; https://ir-datasets.com lists them"
            ) from None

    def _each(self, kind: str, id_: str) -> Iterator[Any]:
        """Documents, queries or judgments of a collection, fetched where they are not there yet."""
        collection = self._load(id_)
        if not getattr(collection, f"has_{kind}")():
            below = ", ".join(self.splits()) or "none"
            raise DataError(f"{self.place()} has no {kind} of its own. With judgments there are below it: {below}")
        try:
            yield from getattr(collection, f"{kind}_iter")()
        except (OSError, RuntimeError) as error:  # the latter where all of its sources failed
            raise DataError(
                f"{self.place()}: the {kind} cannot be fetched: {error}. Where there is no network, "
                "name a folder with its published files (benchmark.path, or a dataset)"
            ) from error

"""MS MARCO layout: collection.tsv, queries.SPLIT.tsv and qrels.SPLIT.tsv, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze import progress
from encloze.data.delimited import DOCUMENTS, read_queries, read_table
from encloze.data.formats._rows import RowFormat
from encloze.data.lines import ErrorCollector, find_file, names_between, uncompressed_suffix
from encloze.data.qrels import read_qrels
from encloze.data.records import Judgment, Query
from encloze.errors import DataError

_LAYOUTS = (("id", "text"), ("id", "title", "text"), ("id", "url", "title", "text"))


@dataclass(frozen=True)
class Tsv(RowFormat, name="tsv"):
    """A folder with MS MARCO's files, or one file of passages or documents.

    The columns of documents are named by a header row, or are id, text; id, title, text; or id, URL, title, text. All
    files ``collection*.tsv`` of a folder are read.
    """

    path: Path
    """Folder with MS MARCO's files, or one file of passages or documents."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        if path.is_file():
            return uncompressed_suffix(path) == ".tsv"
        return bool(names_between(path, "collection", ".tsv"))

    def rows(self, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
        files = self.document_files()
        if len(files) > 1:
            progress.note(f"{self.path}: the documents are read from {', '.join(file.name for file in files)}")
        for file in files:
            yield from read_table(file, errors, DOCUMENTS, _LAYOUTS, self.chosen_fields())

    def document_files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else self._files("collection", "documents (collection.tsv)")

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        if self.path.is_file():
            return super().queries(errors)
        texts: dict[str, str] = {}
        for file in self._files("queries", "queries (queries.SPLIT.tsv, such as queries.dev.tsv)"):
            for id_, text in read_queries(file, errors):  # queries.dev.tsv and queries.dev.small.tsv share queries
                if texts.setdefault(id_, text) != text:
                    location = errors.location or file.name
                    errors.add(location, f"the query id {id_!r} already occurs with another text")
        return (Query(id_, text) for id_, text in texts.items())

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        if self.path.is_file():
            return super().judgments(split, errors)
        if (file := find_file(self.path, f"qrels.{split}.tsv")) is None:
            splits = ", ".join(self.splits()) or "none"
            raise DataError(
                f"{self.path} has no file qrels.{split}.tsv for the split {split!r} (its splits are: {splits})"
            )
        return read_qrels(file, errors)

    def splits(self) -> list[str]:
        return names_between(self.path, "qrels.", ".tsv")

    def _files(self, prefix: str, content: str) -> list[Path]:
        """Return the .tsv files, plain or gzipped, whose names begin with ``prefix``. ``content`` is for the error."""
        names = (f"{prefix}{name}.tsv" for name in names_between(self.path, prefix, ".tsv"))
        if not (files := [file for name in names if (file := find_file(self.path, name))]):
            raise DataError(f"{self.path} has no file of {content}")
        return files

"""MS MARCO layout: collection.tsv, queries.SPLIT.tsv and qrels.SPLIT.tsv, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector, parse_integer, read_columns, uncompressed_suffix
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError


@dataclass(frozen=True)
class Tsv(Format, name="tsv"):
    """A folder with MS MARCO's files, or one file of passages (id, text) or documents (id, [URL,] title, text)."""

    path: Path
    """Folder with MS MARCO's files, or one file of passages or documents."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        if path.is_file():
            return uncompressed_suffix(path) == ".tsv"
        return path.is_dir() and any(path.glob("collection*.tsv*"))

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for _, (id_, *rest) in read_columns(self._file("collection*.tsv*"), 2, errors):
            yield Document(id_, rest[-2] if len(rest) > 1 else "", rest[-1])

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        files = sorted(self.path.glob("queries*.tsv*"))
        if not files:
            raise DataError(f"{self.path} has no file of queries. Add queries.SPLIT.tsv, such as queries.dev.tsv")
        texts: dict[str, str] = {}
        for file in files:  # queries.dev.tsv and queries.dev.small.tsv contain the same queries
            for location, (id_, text, *_) in read_columns(file, 2, errors):
                if texts.setdefault(id_, text) != text:
                    errors.add(location, f"the query id {id_!r} already occurs with another text")
        return (Query(id_, text) for id_, text in texts.items())

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        if self.path.is_file():
            raise DataError(f"{self.path} is a file of documents, without judgments. Give a folder with qrels files")
        splits = ", ".join(self.splits()) or "none"
        file = self._file(f"qrels.{split}.tsv*", f"the split {split!r} (its splits are: {splits})")
        for location, (query, _, document, grade, *_) in read_columns(file, 4, errors, separator=None):
            number = parse_integer(grade, "grade", location, errors)
            if number is not None:
                yield Judgment(query, document, number)

    def splits(self) -> list[str]:
        return sorted(file.name.removeprefix("qrels.").partition(".tsv")[0] for file in self.path.glob("qrels.*.tsv*"))

    def _file(self, pattern: str, content: str = "documents") -> Path:
        """Return ``path`` if it is a file, else the first file in this folder that matches ``pattern``.

        If no file matches, ``content`` describes the missing file in the error message.
        """
        if self.path.is_file():
            return self.path
        files = sorted(self.path.glob(pattern))
        if not files:
            raise DataError(f"{self.path} has no file {pattern.rstrip('*')} for {content}")
        return files[0]

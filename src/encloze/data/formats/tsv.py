"""MS MARCO's files: collection.tsv, queries.SPLIT.tsv and qrels.SPLIT.tsv, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.lines import Faults, bare_suffix, columns, integer
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError


@dataclass(frozen=True)
class Tsv(Format, name="tsv"):
    """A folder with MS MARCO's files, or one file of passages (id, text) or documents (id, [URL,] title, text)."""

    path: Path
    """The folder, or the file of documents."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file():
            return bare_suffix(path) == ".tsv"
        return path.is_dir() and any(path.glob("collection*.tsv*"))

    def documents(self, faults: Faults) -> Iterator[Document]:
        for _, (id_, *rest) in columns(self._file("collection*.tsv*"), 2, faults):
            yield Document(id_, rest[-2] if len(rest) > 1 else "", rest[-1])

    def queries(self, faults: Faults) -> Iterator[Query]:
        files = sorted(self.path.glob("queries*.tsv*"))
        if not files:
            raise DataError(f"{self.path} has no queries.SPLIT.tsv")
        seen: dict[str, str] = {}
        for file in files:  # queries.dev.tsv and queries.dev.small.tsv repeat each other
            for where, (id_, text, *_) in columns(file, 2, faults):
                if seen.setdefault(id_, text) != text:
                    faults.add(where, f"the query id {id_!r} stands for another text elsewhere")
        return (Query(id_, text) for id_, text in seen.items())

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        if self.path.is_file():
            raise DataError(f"{self.path} is a file of documents: it has no judgments")
        file = self._file(f"qrels.{split}.tsv*", f"the split {split!r} (it has: {', '.join(self.splits()) or 'none'})")
        for where, (query, _, document, grade, *_) in columns(file, 4, faults, separator=None):
            number = integer(grade, "grade", where, faults)
            if number is not None:
                yield Judgment(query, document, number)

    def splits(self) -> list[str]:
        return sorted(file.name.removeprefix("qrels.").partition(".tsv")[0] for file in self.path.glob("qrels.*.tsv*"))

    def _file(self, pattern: str, what: str = "documents") -> Path:
        if self.path.is_file():
            return self.path
        found = sorted(self.path.glob(pattern))
        if not found:
            raise DataError(f"{self.path} has no {pattern.rstrip('*')} for {what}")
        return found[0]

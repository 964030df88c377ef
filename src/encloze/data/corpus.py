"""A collection larger than memory, as a list: documents in an Arrow file that is mapped, not read."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from encloze import progress
from encloze.data.formats.base import Format
from encloze.data.ids import Ids, NumberOf
from encloze.data.lines import Faults
from encloze.data.records import Document, full_text
from encloze.errors import DataError
from encloze.storage.cache import cache_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.hashes import hash_file

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("position", pa.int64()),
    ]
)
_ROWS = 4096


class Corpus(Sequence[Document]):
    """Documents by number; ``fingerprint`` changes with any of them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with pa.memory_map(str(file)) as source:
            self._batches = pa.ipc.open_file(source).read_all().to_batches()
        self._begins = np.concatenate([[0], np.cumsum([batch.num_rows for batch in self._batches])])

    @classmethod
    def open(cls, format_: Format, *, pretraining: bool = False) -> Corpus:
        """The documents of a format, checked and converted once and kept in the cache.

        Raises DataError that lists malformed lines and duplicate ids; warns of documents without text.
        """
        kind = "pretraining" if pretraining else "documents"
        file = cache_folder() / "corpora" / f"{format_.fingerprint()}-{kind}.arrow"
        if not file.exists():
            faults = Faults()
            source = format_.pretraining_documents(faults) if pretraining else format_.documents(faults)
            write(_checked(source, faults, str(format_.place())), file)
        return cls(file)

    @classmethod
    def of(cls, documents: Sequence[Document], file: Path) -> Corpus:
        """Documents made in memory, written to ``file``."""
        write(iter(documents), file)
        return cls(file)

    @cached_property
    def fingerprint(self) -> str:
        return hash_file(self.file)[:32]

    def __len__(self) -> int:
        return int(self._begins[-1])

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> list[Document]: ...
    def __getitem__(self, at: int | slice) -> Document | list[Document]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("a corpus is sliced in steps of 1")
            return [Document(**row) for row in self._rows(np.arange(start, max(start, stop)))]
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(f"document {at} of {len(self)}")
        return Document(**self._rows(np.array([number]))[0])

    def __iter__(self) -> Iterator[Document]:
        for start in range(0, len(self), _ROWS):
            yield from self[start : start + _ROWS]

    @cached_property
    def ids(self) -> Ids:
        """The id of each document."""
        return Ids([batch.column("id") for batch in self._batches], self._begins)

    @cached_property
    def number_of(self) -> NumberOf:
        """The number of each document by its id."""
        return NumberOf(self.ids)

    @cached_property
    def sources(self) -> frozenset[str]:
        """The longer texts that documents were cut from; a document of none stands for itself."""
        pairs = zip(self.column("source").to_pylist(), self.ids, strict=True)
        return frozenset(id_ if source is None else source for source, id_ in pairs)

    def texts(self, numbers: Sequence[int] | np.ndarray | None = None) -> Iterator[str]:
        """What is read of each document, title first; of all of them, or of those with the given numbers."""
        if numbers is None:
            for document in self:
                yield full_text(document.title, document.text)
            return
        for start in range(0, len(numbers), _ROWS):
            rows = self._rows(np.asarray(numbers[start : start + _ROWS], np.int64))
            yield from (full_text(row["title"], row["text"]) for row in rows)

    def column(self, name: str) -> Any:
        """One column as an Arrow array."""
        return pa.chunked_array([batch.column(name) for batch in self._batches], _SCHEMA.field(name).type)

    def _rows(self, numbers: np.ndarray) -> list[dict[str, Any]]:
        """The documents with these numbers; only they are read."""
        rows: list[dict[str, Any]] = [{}] * len(numbers)
        batches = np.searchsorted(self._begins, numbers, side="right") - 1
        for batch in np.unique(batches):
            places = np.flatnonzero(batches == batch)
            wanted = np.ascontiguousarray(numbers[places] - self._begins[batch], np.int64)
            # pa.array would import pandas, where there is one: half a second.
            inside = pa.Array.from_buffers(pa.int64(), len(wanted), [None, pa.py_buffer(wanted)])
            for place, row in zip(places, self._batches[batch].take(inside).to_pylist(), strict=True):
                rows[place] = row
        return rows


def write(documents: Iterator[Document], file: Path) -> None:
    """Write documents to an Arrow file, which appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with (
            explain_write_errors(file),
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, _SCHEMA) as writer,
        ):
            while rows := list(itertools.islice(documents, _ROWS)):
                arrays = [
                    pa.array(column, type_)
                    for column, type_ in zip(zip(*rows, strict=True), _SCHEMA.types, strict=True)
                ]
                writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)


def _checked(documents: Iterator[Document], faults: Faults, place: str) -> Iterator[Document]:
    """The documents; at their end, raise what was wrong with them and warn of what is doubtful."""
    seen: set[str] = set()
    empty: list[str] = []
    for number, document in enumerate(progress.track(documents, f"Reading {place}", unit="documents"), 1):
        if document.id in seen:
            faults.add(
                faults.here or f"document {number}", f"the id {document.id!r} stands for an earlier document already"
            )
        faults.check_id("document", document.id, f"document {number}")
        seen.add(document.id)
        if not document.text.strip() and not document.title.strip():
            empty.append(document.id)
        yield document
    faults.stop()
    if not seen:
        raise DataError(f"{place} holds no documents")
    if empty:
        progress.warn(f"{len(empty)} documents have neither title nor text, among them {', '.join(empty[:3])}")

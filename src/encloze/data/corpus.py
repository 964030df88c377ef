"""Corpus: documents in a memory-mapped Arrow file, accessed like a list. It may be larger than memory."""

from __future__ import annotations

import hashlib
import html
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from encloze import progress
from encloze.data.corpus_files import ROWS_PER_BATCH, SCHEMA, validate, write_documents
from encloze.data.fields import read_fields
from encloze.data.formats.base import Format
from encloze.data.ids import DocumentIds, NumberById
from encloze.data.in_memory import ID_COLUMNS, corpus_format, format_of
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, full_text
from encloze.data.row_access import take_rows
from encloze.data.rows import find_column, rows
from encloze.errors import DataError, importable
from encloze.storage.cache import cache_folder
from encloze.storage.cached_files import cached_file
from encloze.storage.hashes import checksum_of, hash_file
from encloze.storage.verified import check_once


class Corpus(Sequence[Document]):
    """Documents of a collection, in a memory-mapped Arrow file.

    A corpus behaves like a list of ``Document`` records. Only the accessed rows are read from disk.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "corpus.arrow"
        >>> corpus = Corpus.from_documents([Document("d1", "Rivers", "They flow into the sea.")], file)
        >>> len(corpus), corpus[0].id, corpus.number_of["d1"]
        (1, 'd1', 0)
    """

    def __init__(self, file: Path, format_: Format | None = None) -> None:
        """Open an Arrow file that ``write_documents`` wrote.

        Args:
            file: The Arrow file.
            format_: The format that the documents were read from, if known.

        Raises:
            DataError: The file is missing, damaged, or was not written by ``write_documents``.
        """
        try:
            self.file, self.format = Path(file), format_
            with pa.memory_map(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
            if "fields" not in table.schema.names:  # written before documents had extra fields
                table = table.append_column(SCHEMA.field("fields"), pa.nulls(len(table), pa.string()))
            if table.schema != SCHEMA:
                raise ValueError(f"its columns are {', '.join(table.schema.names)}")
            check_once("documents in an Arrow file", [self.file], lambda: validate(table))
        except (OSError, TypeError, ValueError, MemoryError, pa.ArrowException) as error:
            message = f"{file} is not an Arrow file of documents ({error}). Open other collections with Corpus.load"
            raise DataError(message) from error
        self._files: list[Path] = [self.file]
        self._rows: np.ndarray | None = None  # of documents in the batches, if some were deleted
        self._set_batches(table.to_batches())

    def _set_batches(self, batches: list[Any]) -> None:
        self._batches = batches
        self._offsets = np.concatenate([[0], np.cumsum([batch.num_rows for batch in batches])]).astype(np.int64)

    @classmethod
    def from_format(cls, format_: Format, *, pretraining: bool = False) -> Corpus:
        """Open the documents of a data set. The first call checks them and saves them in the cache.

        Warns of documents that have neither a title nor a text.

        Args:
            format_: Data set.
            pretraining: Whether to open the documents of ``Format.pretraining_documents`` instead of
                ``Format.documents``.

        Raises:
            DataError: Lines are malformed, ids occur twice, or there are no documents. The error lists all problems.
        """
        kind = "pretraining" if pretraining else "documents"
        file = cache_folder() / "corpora" / f"{format_.fingerprint()}-{kind}.arrow"

        def write(path: Path) -> None:
            errors = ErrorCollector()
            documents = format_.pretraining_documents(errors) if pretraining else format_.documents(errors)
            write_documents(_checked(documents, errors, str(format_.location())), path)

        return cls(cached_file(file, write), format_)

    @classmethod
    def joined(cls, parts: Sequence[Corpus], live: Sequence[np.ndarray | None]) -> Corpus:
        """Return the documents of several collections as one, without those that were deleted.

        Args:
            parts: The collections, at least one. Ids must not occur twice in what is left of them.
            live: For each collection which documents have not been deleted: bool, (documents,); None if all are left.
        """
        if len(parts) == 1 and live[0] is None:
            return parts[0]
        joined = cls.__new__(cls)
        joined.file, joined.format = parts[0].file, None
        joined._files = [part.file for part in parts]
        joined._set_batches([batch for part in parts for batch in part._batches])
        joined._rows = None
        if any(mask is not None for mask in live):
            masks = [np.ones(len(part), bool) if mask is None else mask for part, mask in zip(parts, live, strict=True)]
            joined._rows = np.flatnonzero(np.concatenate(masks))
        return joined

    @classmethod
    def load(cls, source: Any) -> Corpus:
        """Open a collection.

        Args:
            source: A file or folder in any known format; the name of a format (``python_docs``); a ``Format``; a
                ``Corpus`` or a ``Dataset``; or documents in memory: a list (of dictionaries, ``Document`` records or
                strings), a data frame, or a ``datasets.Dataset``.

        Raises:
            DataError: The source does not exist, is not recognized, or has malformed documents.
        """
        return source if isinstance(source, cls) else cls.from_format(format_of(source))

    @classmethod
    def load_once(cls, source: Any, folder: Path) -> Corpus:
        """Open a collection as ``load`` does, but store documents in memory in ``folder`` and not in the cache.

        So the cache does not grow with documents that are used only once.

        Raises:
            DataError: Documents in memory have no ids, or there is another fault (see ``load``).
        """
        if isinstance(source, (cls, str, Path, Format, Mapping)) or isinstance(getattr(source, "format", None), Format):
            return cls.load(source)
        listed, errors = list(rows(source, "documents")), ErrorCollector()
        if without := [where for where, row in listed if find_column(row, ID_COLUMNS) is None]:
            raise DataError(
                f"{len(without):,} documents have no id: {', '.join(without[:3])}. Give each document an id"
            )
        format_ = corpus_format(listed, folder)
        write_documents(
            _checked(format_.documents(errors), errors, "the list of documents"), folder / "documents.arrow"
        )
        return cls(folder / "documents.arrow")

    @classmethod
    def from_dicts(cls, documents: Any) -> Corpus:
        """Create a collection from documents in memory.

        Args:
            documents: Dictionaries with ``text`` and optionally ``id`` (by default the position in the list),
                ``title``, ``source`` (the id of the longer text that a passage was cut from) and ``position`` (the
                place of the passage in that text). All other values are extra fields of the document. Also a pandas or
                polars data frame, an Arrow table or a ``datasets.Dataset`` with such columns.

        Raises:
            DataError: A document has no text, or two documents have the same id.

        Example:
            >>> corpus = Corpus.from_dicts([{"id": "a", "title": "Rivers", "text": "They flow into the sea."}])
            >>> corpus[0].title
            'Rivers'
        """
        return cls.from_format(corpus_format(rows(documents, "documents")))

    def inputs(self) -> dict[str, Path | str]:
        """Return the paths of the files that the collection was read from, or the name of its format if it has no path.

        They are saved with results, together with the hashes of the files.
        """
        return self.format.inputs("corpus") if self.format else {"corpus": self.file}

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with the columns id, title, text, source, position and fields.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return importable("pandas", "pandas").DataFrame([document._asdict() for document in self])

    def __repr__(self) -> str:
        location = f" from {self.format.location()}" if self.format else ""
        return f"Corpus({len(self):,} documents{location})"

    def _repr_html_(self) -> str:
        cells = ((html.escape(text) for text in (d.id, d.title, " ".join(d.text.split())[:200])) for d in self[:5])
        body = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in cells)
        head = "<tr><th>id</th><th>title</th><th>text</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table><thead>{head}</thead><tbody>{body}</tbody></table>"

    @classmethod
    def from_documents(cls, documents: Sequence[Document], file: Path) -> Corpus:
        """Write documents to an Arrow file and return the corpus that reads it.

        Args:
            documents: Documents with unique ids. They are not checked.
            file: File to write.
        """
        write_documents(iter(documents), Path(file))
        return cls(file)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all documents."""
        if len(self._files) == 1 and self._rows is None:
            return hash_file(self.file)[:32]
        rows = b"" if self._rows is None else self._rows.tobytes()
        return checksum_of("".join(map(hash_file, self._files)) + hashlib.sha256(rows).hexdigest())

    def save(self, file: Path) -> None:
        """Write the documents to an Arrow file, which ``Corpus`` opens.

        Raises:
            StorageError: The disk is full.
        """
        if len(self._files) == 1 and self._rows is None:
            shutil.copyfile(self.file, file)
        else:
            write_documents(iter(self), file)

    def __len__(self) -> int:
        return int(self._offsets[-1]) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"a corpus can only be sliced with step 1, not {step}")
            return self.take(np.arange(start, max(start, stop)))
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"document index {index} is out of range for a corpus of {len(self)} documents")
        return self._document(self._read_rows(np.array([number]))[0])

    def __iter__(self) -> Iterator[Document]:
        for start in range(0, len(self), ROWS_PER_BATCH):
            yield from self[start : start + ROWS_PER_BATCH]

    @cached_property
    def ids(self) -> DocumentIds:
        """Ids of all documents, in the order of the corpus."""
        return DocumentIds([batch.column("id") for batch in self._batches], self._offsets, self._rows)

    @cached_property
    def number_of(self) -> NumberById:
        """Mapping from the id of each document to its index in the corpus."""
        return NumberById(self.ids)

    @cached_property
    def sources(self) -> frozenset[str]:
        """Ids of the longer texts that the documents were cut from. A document without a source is its own source."""
        pairs = zip(self.column("source").to_pylist(), self.ids, strict=True)
        return frozenset(id_ if source is None else source for source, id_ in pairs)

    def sources_of(self, numbers: np.ndarray) -> list[str]:
        """Return the ids of the longer texts that documents were cut from, or their own ids if they have none.

        Args:
            numbers: Indices of the documents: int64.
        """
        columns = [batch.column("source") for batch in self._batches]
        found = take_rows(columns, self._offsets, numbers if self._rows is None else self._rows[numbers])
        pairs = zip(found, self.ids.take(numbers), strict=True)
        return [id_ if source is None else source for source, id_ in pairs]

    def take(self, numbers: np.ndarray) -> list[Document]:
        """Return many documents, faster than one by one.

        Args:
            numbers: Indices of the documents: int64. They are not checked.
        """
        return [self._document(row) for row in self._read_rows(numbers)]

    def texts(self, numbers: Sequence[int] | np.ndarray | None = None) -> Iterator[str]:
        """Yield, for each document, the text that encoders and analyzers read: its title followed by its text.

        Args:
            numbers: Indices of the documents; by default all documents in order.
        """
        if numbers is None:
            for document in self:
                yield full_text(document.title, document.text)
            return
        for start in range(0, len(numbers), ROWS_PER_BATCH):
            rows = self._read_rows(np.asarray(numbers[start : start + ROWS_PER_BATCH], np.int64))
            yield from (full_text(row["title"], row["text"]) for row in rows)

    def column(self, name: str) -> Any:
        """Return one field of all documents as an Arrow array.

        Args:
            name: ``id``, ``title``, ``text``, ``source``, ``position`` or ``fields`` (JSON texts, null if there are
                none).
        """
        column = pa.chunked_array([batch.column(name) for batch in self._batches], SCHEMA.field(name).type)
        return column if self._rows is None else column.take(pa.array(self._rows))

    def _document(self, row: dict[str, Any]) -> Document:
        try:
            return Document(**{**row, "fields": read_fields(row["fields"])})
        except ValueError as error:
            raise DataError(
                f"{self.file} is damaged: the fields of the document {row['id']!r} are no JSON object ({error}). "
                "Delete the file, or build the index again"
            ) from error

    def _read_rows(self, numbers: np.ndarray) -> list[dict[str, Any]]:
        """Return the fields of documents: one dictionary for each document index in ``numbers`` (int64)."""
        return take_rows(self._batches, self._offsets, numbers if self._rows is None else self._rows[numbers])


def _checked(documents: Iterator[Document], errors: ErrorCollector, location: str) -> Iterator[Document]:
    """Yield the documents. After the last document, raise a DataError with all errors found.

    If there are no errors, warn of documents that have neither a title nor a text.
    """
    seen: set[str] = set()
    empty: list[str] = []
    for number, document in enumerate(progress.track(documents, f"Reading {location}", unit="documents"), 1):
        if document.id in seen:
            errors.add(errors.location or f"document {number}", f"duplicate document id {document.id!r}")
        errors.check_id("document", document.id, f"document {number}")
        seen.add(document.id)
        if not document.text.strip() and not document.title.strip():
            empty.append(document.id)
        yield document
    errors.raise_if_any()
    if not seen:
        raise DataError(f"{location} contains no documents")
    if empty:
        progress.warn(f"{len(empty)} documents have neither a title nor a text, for example {', '.join(empty[:3])}")

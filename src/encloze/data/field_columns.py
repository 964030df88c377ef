"""The fields of documents in columns sorted by value, memory-mapped, from which filters select documents.

A comparison reads only the rows of the documents that match, which binary search finds.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from encloze.data.filters import Condition, Constant, Filter, filter_error
from encloze.data.records import Document
from encloze.errors import CheckpointError
from encloze.family import nearest
from encloze.storage.disk import explain_write_errors
from encloze.storage.verified import check_once

Kind = Literal["boolean", "number", "integer", "text", "own"]
"""``own`` is the kind of ids and sources of documents, apart from extra fields with these names."""

_SCHEMA = pa.schema([("row", pa.int32()), ("number", pa.float64()), ("integer", pa.int64()), ("text", pa.string())])
_COLUMN_OF: dict[str, str] = {
    "boolean": "number",
    "number": "number",
    "integer": "integer",
    "text": "text",
    "own": "text",
}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_BOOLEANS = {"true": 1.0, "false": 0.0}
_EXACT = 2**53
"""Integers from here on are not exact in float64, such as long account numbers."""
_LAST = "\U0010ffff"  # the last character


def write_field_columns(documents: Iterable[Document], file: Path) -> None:
    """Write the fields of documents, and their ids, sources and positions, to a file that ``FieldColumns`` reads.

    Raises:
        StorageError: The disk is full.
    """
    columns: dict[tuple[str, Kind], tuple[list[int], list[Any]]] = {}
    count = 0
    for row, document in enumerate(documents):
        for name, kind, stored in entries_of(document):
            rows, values = columns.setdefault((name, kind), ([], []))
            rows.append(row)
            values.append(stored)
        count = row + 1
    names = sorted(columns)
    metadata = {"documents": str(count), "columns": json.dumps(names)}
    with (
        explain_write_errors(file),
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_file(sink, _SCHEMA.with_metadata(metadata)) as writer,
    ):
        for key in names:
            rows, values = columns.pop(key)
            order = sorted(range(len(values)), key=values.__getitem__)
            stored_in = _COLUMN_OF[key[1]]
            arrays = {
                "row": pa.array([rows[place] for place in order], pa.int32()),
                **{other: pa.nulls(len(order), _SCHEMA.field(other).type) for other in _SCHEMA.names[1:]},
                stored_in: pa.array([values[place] for place in order], _SCHEMA.field(stored_in).type),
            }
            writer.write_batch(pa.record_batch([arrays[field] for field in _SCHEMA.names], _SCHEMA.names))


def _constants(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Constant]]:
    """Yield the constants in fields with the names of their fields. Lists and objects are taken apart."""
    for name, value in fields.items():
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, Mapping):
                yield from _constants(part, f"{prefix}{name}.")
            elif isinstance(part, (list, tuple)):
                yield from _constants({name: part}, prefix)
            elif part is not None:
                yield f"{prefix}{name}", part


def entries_of(document: Document) -> Iterator[tuple[str, Kind, float | int | str]]:
    """Yield the name of each field of a document, and the kind and value of each of its entries.

    Lists and objects are taken apart. A text that is a number, or true or false, has two entries.
    """
    for name, own in (("id", document.id), ("source", document.source)):
        if own is not None:
            yield name, "own", own
            yield from ((name, kind, value) for kind, value in _entries_of_text(own))
    for name, constant in [*_constants({"position": document.position}), *_constants(document.fields)]:
        yield from ((name, kind, value) for kind, value in _entries(constant))


def _entries(value: Constant) -> list[tuple[Kind, float | int | str]]:
    """Return the entries of a constant in the columns: two for a text that is a number, or true or false."""
    if isinstance(value, str):
        return [("text", value), *_entries_of_text(value)]
    if value is None:
        return []
    if isinstance(value, bool):
        return [("boolean", float(value))]
    if isinstance(value, int) and abs(value) >= _EXACT:
        return [("integer", value)]
    return [("number", float(value))]


def _entries_of_text(value: str) -> list[tuple[Kind, float | int | str]]:
    if value.lower() in _BOOLEANS:
        return [("boolean", _BOOLEANS[value.lower()])]
    if not _NUMBER.fullmatch(value):
        return []
    if _INTEGER.fullmatch(value) and len(value) < 20 and -(2**63) <= int(value) < 2**63:
        return _entries(int(value))
    return [("number", float(value))] if math.isfinite(float(value)) else []


class _Column(NamedTuple):
    """The values of one kind of a field, sorted, and the documents that they belong to."""

    rows: np.ndarray  # int32, (values,)
    values: Sequence[Any]


class _Values(Sequence[Any]):
    """Values of an Arrow array, read on access as values of Python, which compares integers and floats exactly."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getitem__(self, index: Any) -> Any:
        return self._array[index].as_py()

    def __len__(self) -> int:
        return len(self._array)


class FieldColumns:
    """Columns of fields in a file that ``write_field_columns`` wrote.

    Attributes:
        num_documents: Number of documents.
        names: Names of the fields that at least one document has, and of the objects that contain fields.

    Example:
        >>> from encloze.data.filters import Filter
        >>> documents = [Document("a", "", "A lamp.", fields={"year": 2020}), Document("b", "", "A cup.")]
        >>> write_field_columns(documents, folder / "fields.arrow")
        >>> Filter("year >= 2000").evaluate(FieldColumns(folder / "fields.arrow").matches)
        array([ True, False])
    """

    def __init__(self, file: Path) -> None:
        """Open a file.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        try:
            with pa.memory_map(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
            if table.schema != _SCHEMA:
                raise ValueError(f"its columns are {', '.join(table.schema.names)}")
            metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
            self.num_documents = int(metadata["documents"])
            keys = [(str(name), str(kind)) for name, kind in json.loads(metadata["columns"])]
            batches = [batch for batch in table.to_batches() if batch.num_rows]
            check_once("columns of fields", [file], lambda: _validate(table, self.num_documents))
            self._columns = {key: _column(batch, key[1]) for key, batch in zip(keys, batches, strict=True)}
        except (KeyError, OSError, TypeError, ValueError, MemoryError, pa.ArrowException) as error:
            raise CheckpointError(f"{file} is damaged: {error}. Build the index again, or restore the file") from error
        parts = [name.split(".") for name, _ in self._columns]
        self.names = frozenset(".".join(part[:end]) for part in parts for end in range(1, len(part) + 1))

    def rows_of(self, field: Literal["id", "source"], texts: Iterable[str]) -> np.ndarray:
        """Return the rows of the documents with one of some ids (``id``) or sources (``source``): int64, ascending."""
        column = self._columns.get((field, "own"))
        ranges = [_range(column.values, Condition(field, "==", text)) for text in texts] if column else []
        rows = [column.rows[first:last] for first, last in ranges] if column else []
        return np.unique(np.concatenate([np.empty(0, np.int64), *rows]))

    def matches(self, condition: Condition) -> np.ndarray:
        """Return which documents fulfil a condition: bool, (documents,)."""
        found, constant = np.zeros(self.num_documents, np.bool_), condition.constant
        if constant is None:
            for (name, _), column in self._columns.items():
                if f"{name}.".startswith(f"{condition.field}."):  # the field itself, or a field in this object
                    found[column.rows] = True
            return ~found
        is_number = isinstance(constant, (int, float)) and not isinstance(constant, bool)
        kinds = ("number", "integer") if is_number else ("text", "own") if isinstance(constant, str) else ("boolean",)
        for kind in kinds:
            if column_of_kind := self._columns.get((condition.field, kind)):
                first, last = _range(column_of_kind.values, condition)
                found[column_of_kind.rows[first:last]] = True
        return found


def _column(batch: Any, kind: str) -> _Column:
    return _Column(_rows(batch.column("row")), _Values(batch.column(_COLUMN_OF[kind])))


def _rows(array: Any) -> np.ndarray:
    """Return an Arrow array of int32 without a copy. ``to_numpy`` would import pandas, which takes half a second."""
    return np.frombuffer(array.buffers()[1], np.int32, len(array), array.offset * 4)


def _range(values: Sequence[Any], condition: Condition) -> tuple[int, int]:
    """Return the first of the sorted values that fulfil a condition, and the end of these values."""
    constant: Any = condition.constant
    match condition.operator:
        case "==":
            return bisect_left(values, constant), bisect_right(values, constant)
        case "<":
            return 0, bisect_left(values, constant)
        case "<=":
            return 0, bisect_right(values, constant)
        case ">":
            return bisect_right(values, constant), len(values)
        case ">=":
            return bisect_left(values, constant), len(values)
        case "startswith":
            return bisect_left(values, constant), bisect_right(values, constant + _LAST)


def _validate(table: Any, num_documents: int) -> None:
    """Raise ValueError if reading a table might fail. Reads the whole table."""
    table.validate(full=True)
    rows = table.column("row")
    if rows.null_count or not 0 <= num_documents < 2**31:
        raise ValueError("row numbers are missing")
    for chunk in rows.chunks:
        numbers = _rows(chunk)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < num_documents:
            raise ValueError(f"it has rows of more than {num_documents} documents")


class SegmentedFields:
    """The fields of the documents of several segments, without the documents that were deleted."""

    def __init__(self, parts: Sequence[FieldColumns], live: Sequence[np.ndarray | None]) -> None:
        """Combine the fields of segments.

        Args:
            parts: The fields of each segment.
            live: Which documents of each segment have not been deleted: bool, (documents,); None if all are left.
        """
        self._parts, self._live = parts, live

    @property
    def names(self) -> frozenset[str]:
        """Names of the fields that at least one document has, and of the objects that contain fields."""
        return frozenset().union(*(part.names for part in self._parts))

    def select(self, filter_: Filter) -> np.ndarray:
        """Return which documents pass a filter: bool, (documents that have not been deleted,).

        Raises:
            RecipeError: No document has a field of the filter.
        """
        passed = zip(self._passed(filter_), self._live, strict=True)
        return np.concatenate([mask if live is None else mask[live] for mask, live in passed])

    def select_rows(self, filter_: Filter) -> list[np.ndarray]:
        """Return for each segment the rows of the documents that pass a filter: int64, ascending (see ``select``)."""
        passed = zip(self._passed(filter_), self._live, strict=True)
        return [np.flatnonzero(mask if live is None else mask & live) for mask, live in passed]

    def _passed(self, filter_: Filter) -> list[np.ndarray]:
        names = frozenset[str]().union(*(part.names for part in self._parts), ("source", "position"))
        if unknown := sorted(filter_.fields - names):
            known = nearest(unknown[0], sorted(names))
            raise filter_error(f"no document has the field {unknown[0]!r}; {known}")
        return [filter_.evaluate(part.matches) for part in self._parts]

    def find(self, values: Sequence[str], field: Literal["id", "source"] = "id") -> list[np.ndarray]:
        """Return for each segment the rows of the documents with one of some ids or sources: int64, ascending."""
        found = []
        for part, live in zip(self._parts, self._live, strict=True):
            rows = part.rows_of(field, values)
            found.append(rows if live is None else rows[live[rows]])
        return found

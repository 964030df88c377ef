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

_Kind = Literal["boolean", "number", "text"]

_SCHEMA = pa.schema([("row", pa.int32()), ("number", pa.float64()), ("text", pa.string())])
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LAST = "\U0010ffff"  # the last character


def write_field_columns(documents: Iterable[Document], file: Path) -> None:
    """Write the fields of documents, and their ids, sources and positions, to a file that ``FieldColumns`` reads.

    Raises:
        StorageError: The disk is full.
    """
    columns: dict[tuple[str, _Kind], tuple[list[int], list[Any]]] = {}
    count = 0
    for row, document in enumerate(documents):
        of_document = {"id": document.id, "source": document.source, "position": document.position}
        for name, value in _constants({**document.fields, **of_document}):
            for kind, stored in _entries(value):
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
            stored_in = "text" if key[1] == "text" else "number"
            arrays = {
                "row": pa.array([rows[place] for place in order], pa.int32()),
                **{other: pa.nulls(len(order), _SCHEMA.field(other).type) for other in ("number", "text")},
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


def _entries(value: Constant) -> list[tuple[_Kind, float | str]]:
    """Return the entries of a constant in the columns: two for a text that is a number."""
    if isinstance(value, bool):
        return [("boolean", float(value))]
    if not isinstance(value, str):
        of_number: list[tuple[_Kind, float | str]] = [] if value is None else [("number", float(value))]
        return [*of_number, ("text", str(value))] if _is_long(value) else of_number
    number = float(value) if _NUMBER.fullmatch(value) else math.inf
    return [("text", value), ("number", number)] if math.isfinite(number) else [("text", value)]


def _is_long(value: Constant) -> bool:
    """Return whether a constant is an integer that float64 rounds, such as a long account number."""
    return isinstance(value, int) and abs(value) > 2**53


class _Column(NamedTuple):
    """The values of one kind of a field, sorted, and the documents that they belong to."""

    rows: np.ndarray  # int32, (values,)
    values: Sequence[Any]


class _Texts(Sequence[str]):
    """Texts of an Arrow array, read on access."""

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
        names: Names of the fields that at least one document has.

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
        self.names = frozenset(name for name, _ in self._columns)

    def rows_of(self, field: str, texts: Iterable[str]) -> np.ndarray:
        """Return the rows of the documents in which a field has one of some values: int64, ascending."""
        column = self._columns.get((field, "text"))
        ranges = [_range(column.values, Condition(field, "==", text)) for text in texts] if column else []
        rows = [column.rows[first:last] for first, last in ranges] if column else []
        return np.unique(np.concatenate([np.empty(0, np.int64), *rows]))

    def matches(self, condition: Condition) -> np.ndarray:
        """Return which documents fulfil a condition: bool, (documents,)."""
        found, constant = np.zeros(self.num_documents, np.bool_), condition.constant
        if constant is None:
            for (name, _), column in self._columns.items():
                if name == condition.field:
                    found[column.rows] = True
            return ~found
        if _is_long(constant) and condition.operator == "==":
            condition = condition._replace(constant=str(constant))
            constant = condition.constant
        kind = "boolean" if isinstance(constant, bool) else "text" if isinstance(constant, str) else "number"
        wanted = self._columns.get((condition.field, kind))
        if wanted:
            first, last = _range(wanted.values, condition)
            found[wanted.rows[first:last]] = True
        return found


def _column(batch: Any, kind: str) -> _Column:
    values = _Texts(batch.column("text")) if kind == "text" else batch.column("number").to_numpy()
    return _Column(batch.column("row").to_numpy(), values)


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
        numbers = chunk.to_numpy()
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

    def find(self, values: Sequence[str], field: str = "id") -> list[np.ndarray]:
        """Return for each segment the rows of the documents with one of some ids or other values: int64, ascending."""
        found = []
        for part, live in zip(self._parts, self._live, strict=True):
            rows = part.rows_of(field, values)
            found.append(rows if live is None else rows[live[rows]])
        return found

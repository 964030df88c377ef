"""Reading of rows from lists of dictionaries, data frames and datasets in memory, with checks of the values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.plain_values import shown

Rows = Iterator[tuple[str, dict[str, Any]]]
"""Rows as dictionaries by column name, each with its location for error messages."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def is_rows(value: object) -> bool:
    """Return whether ``value`` is a list or tuple, a data frame (pandas, polars), an Arrow table or a dataset."""
    return isinstance(value, (list, tuple)) or reader_of(value) is not None


def rows(value: Any, name: str) -> Rows:
    """Iterate over the rows of in-memory data.

    Args:
        value: A list of dictionaries, ``Document``, ``Query`` or ``Judgment`` records, or strings; a pandas or polars
            data frame; an Arrow table; a ``datasets.Dataset``, or a ``DatasetDict`` with one split. Types are
            recognized by their methods, so none of these packages is imported.
        name: Name of the data in error messages, such as ``documents``.

    Yields:
        The location of each row (``documents[3]``), and its values by column name. A string becomes
        ``{"text": string}``. Missing values (None, NaN, NA) are left out.

    Raises:
        DataError: ``value`` has none of these types, or a row is neither a dictionary, a record nor a string.
    """
    value = value if (only := only_split(value)) is None else only
    read = reader_of(value)
    has_order = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, set, frozenset))
    if read is None and not has_order:
        raise DataError(
            f"{name}: expected rows (a list of dictionaries, a data frame, a dataset), found {describe(value)}"
        )
    for number, row in enumerate(value if read is None else read()):
        where = f"{name}[{number}]"
        if isinstance(row, (Document, Query, Judgment)):
            row = row._asdict()
            row = {**row.pop("fields", {}), **row}
        if isinstance(row, str):
            yield where, {"text": row}
        elif isinstance(row, Mapping):
            yield where, {column: value for column, value in row.items() if not is_missing(value)}
        else:
            raise DataError(f"{where}: expected a dictionary or a string, found {describe(row)}")


def only_split(value: object) -> Any:
    """Return the only table of a mapping (such as ``DatasetDict``) with one table; None for any other value."""
    tables = list(value.values()) if isinstance(value, Mapping) and len(value) == 1 else []
    return tables[0] if tables and reader_of(tables[0]) is not None else None


def find_column(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return the first column in ``names`` whose value in the row is not missing; None if all of them are missing."""
    return next((name for name in names if not is_missing(row.get(name))), None)


def is_missing(value: object) -> bool:
    """Return whether a value in a table is missing: None, NaN, or the special values NA and NaT of data frames."""
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def text_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """Return the text in a column of a row. Raises DataError if the value is not text."""
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: expected text in the column {column!r}, found {describe(value)}")
    return encodable(str(value), where)


def text_or_number(value: Any, where: str) -> str:
    """Return a text unchanged, or a whole number as text. Raises DataError for any other value."""
    return encodable(value, where) if isinstance(value, str) else str(integer_of(value, where, "text"))


def id_of(value: Any, where: str) -> str:
    """Return an id as text. 2.0 becomes ``2``, because data frames store integers as floats if values are missing."""
    expected = "text or a whole number"
    id_ = encodable(value, where) if isinstance(value, str) else str(integer_of(value, where, expected))
    if "\t" in id_ or (id_ and id_.splitlines() != [id_]):
        raise DataError(f"{where}: the id {id_!r} contains a tab or a line break. Remove it")
    return id_


def integer_of(value: Any, where: str, expected: str = "a whole number") -> int:
    """Convert an integer, a float such as 2.0 or a string such as "2" to an integer. Otherwise raise DataError."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value  # numpy, torch
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_whole = is_whole or (isinstance(value, float) and value.is_integer())
    is_whole = is_whole or (isinstance(value, str) and len(value) < 20 and _INTEGER.fullmatch(value) is not None)
    if is_whole and abs(number := int(value)) < 2**63:
        return number
    raise DataError(f"{where}: expected {expected}, found {describe(value)}")


def encodable(text: str, where: str) -> str:
    """Return the text unchanged. Raises DataError if it cannot be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: invalid text: unpaired surrogate {text[error.start]!a}. Remove it") from error
    return str(text)


def reader_of(value: object) -> Any:
    """Return a function that returns the rows of a data frame, Arrow table or dataset; None for any other ``value``."""
    if isinstance(value, (Mapping, type)):  # a DatasetDict has the methods of a dataset
        return None
    if hasattr(value, "iter_rows") and hasattr(value, "columns"):  # polars
        return lambda: value.iter_rows(named=True)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # pandas
        return lambda: value.to_dict(orient="records")
    if hasattr(value, "to_pylist") and hasattr(value, "schema"):  # pyarrow
        return value.to_pylist
    if hasattr(value, "column_names") and hasattr(value, "__iter__"):  # datasets
        return lambda: iter(value.with_format(None) if hasattr(value, "with_format") else value)
    return None


def describe(value: object) -> str:
    """Return the type of a value and the beginning of its ``repr``, for messages."""
    return f"{type(value).__name__} {shown(value)}"[:80]

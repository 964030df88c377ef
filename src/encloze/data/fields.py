"""Extra fields of documents, such as a year or a rating: all other values of the row that a document is read from."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from encloze import progress
from encloze.data.records import Fields
from encloze.data.rows import is_missing
from encloze.storage.json_files import parse_json

_MAX_DEPTH = 20


class FieldReader:
    """Takes the extra fields from the rows of one collection. Warns once of each field whose values cannot be kept.

    Example:
        >>> reader = FieldReader({"id", "text"})
        >>> reader.read({"id": "a", "text": "A lamp.", "rating": 4.5, "added": datetime.date(2026, 1, 31), "color": ""})
        {'rating': 4.5, 'added': '2026-01-31'}
    """

    def __init__(self, used: Iterable[str], kept: Iterable[str] | None = None) -> None:
        """Create a reader.

        Args:
            used: Names of the fields that are read otherwise, such as the text.
            kept: Names of the fields to keep; by default all others.
        """
        self._used, self._kept = frozenset(used), None if kept is None else frozenset(kept)
        self._warned = set[str]()

    def read(self, row: Mapping[str, Any], used: Iterable[str] = ()) -> dict[str, Any]:
        """Return the extra fields of a row as JSON values. Missing and empty values are left out.

        Args:
            row: Values of the row by field name.
            used: Further names of fields that are read otherwise in this row.
        """
        found, also_used = dict[str, Any](), frozenset(used)
        for name, value in row.items():
            if name in self._used or name in also_used or (self._kept is not None and name not in self._kept):
                continue
            try:
                kept = _json_value(value)
            except TypeError as error:
                self._warn(str(name), str(error))
                continue
            if name and kept not in (None, "", [], {}):
                found[str(name)] = kept
        return found

    def _warn(self, name: str, kind: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            progress.warn(
                f"values of the field {name!r} are not kept with the documents: {kind} is neither a text, a "
                "64-bit number, a date, true or false, nor a list or object of these"
            )


def write_fields(fields: Fields) -> str | None:
    """Return extra fields as a JSON text; None if there are none.

    Raises:
        TypeError: A value is not a JSON value.
    """
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) if fields else None


def read_fields(text: str | None) -> Fields:
    """Return the extra fields in a JSON text that ``write_fields`` returned.

    Raises:
        ValueError: The text is not a JSON object.
    """
    if text is None:
        return {}
    fields = parse_json(text)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    return fields


def _json_value(value: Any, depth: int = 0) -> Any:
    """Return a value as a JSON value, with dates as ISO 8601 text and missing values as None.

    Raises TypeError, with a description of the value, if that is impossible.
    """
    if is_missing(value):
        return None
    if isinstance(value, (str, bool)):
        return value
    if depth > _MAX_DEPTH:
        raise TypeError("a value with many nested brackets")
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date, and so is a pandas.Timestamp
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _json_value(part, depth + 1) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(part, depth + 1) for part in value]
    if hasattr(value, "tolist"):  # arrays and numbers of numpy
        return _json_value(value.tolist(), depth + 1)
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    raise TypeError("a number outside of 64 bits" if isinstance(value, (int, float)) else type(value).__name__)

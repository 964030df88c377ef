"""Check of JSON values against types.

Written by hand because pydantic takes longer to import than a small model takes to load.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any, NotRequired

_NAMES = {dict: "an object", list: "a list", str: "text", int: "an integer", float: "a number", bool: "true or false"}


def shape_fault(value: Any, shape: Any, path: str = "") -> str:
    """Return where and how a JSON value differs from a type; an empty string if it does not.

    Args:
        value: The value, as ``json.loads`` returns it.
        shape: The expected type: ``Any``, ``None``, ``str``, ``bool``, ``int`` (of at most 64 bits), ``float`` (finite,
            or such an integer), ``list[X]``, ``tuple[X, ...]``, ``dict[str, X]``, a ``TypedDict`` (other keys are
            allowed), a named tuple or dataclass (other keys are not allowed), or a union of these.
        path: Position of the value in the file, for the message.

    Example:
        >>> shape_fault({"bytes": "9"}, dict[str, int])
        'bytes: expected an integer, found text'
    """
    if shape is Any:
        return ""
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if origin in (typing.Union, types.UnionType):
        faults = [shape_fault(value, argument, path) for argument in arguments]
        return "" if "" in faults else max(faults, key=len)  # the deepest is the most helpful
    is_record = typing.is_typeddict(shape) or hasattr(shape, "_fields") or dataclasses.is_dataclass(shape)
    expected = dict if is_record else list if origin is tuple else origin or shape
    if not _is_instance(value, expected):
        return f"{path or 'the file'}: expected {_NAMES.get(expected, 'null')}, found {_name(value)}"
    if is_record:
        return _record_fault(value, shape, path)
    if expected is dict and arguments:
        items = [(_join(path, key), item, arguments[1]) for key, item in value.items()]
    elif expected is list and arguments == (str,) and all(type(item) is str for item in value):
        return ""  # long lists of ids are checked often
    elif expected is list and arguments:
        is_pair = origin is tuple and ... not in arguments
        if is_pair and len(value) != len(arguments):
            return f"{path or 'the file'}: expected {len(arguments)} items, found {len(value)}"
        hints = arguments if is_pair else [arguments[0]] * len(value)
        items = [(f"{path}[{at}]", item, hint) for at, (item, hint) in enumerate(zip(value, hints, strict=True))]
    else:
        return ""
    return _first_fault(items)


def _record_fault(value: dict[str, Any], shape: Any, path: str) -> str:
    hints, required = _fields(shape)
    if missing := [key for key in required if key not in value]:
        return f"{path or 'the file'} has no {missing[0]!r}"
    if not typing.is_typeddict(shape) and (unknown := [key for key in value if key not in hints]):
        return f"{path or 'the file'} has an unknown field {unknown[0]!r:.60}"
    return _first_fault([(_join(path, key), value[key], hint) for key, hint in hints.items() if key in value])


def _first_fault(items: list[tuple[str, Any, Any]]) -> str:
    faults = (shape_fault(item, hint, path) for path, item, hint in items if hint is not Any)
    return next(filter(None, faults), "")


@functools.cache
def _fields(shape: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the type of each field of a record, and the names of its required fields."""
    hints = typing.get_type_hints(shape)
    if typing.is_typeddict(shape):  # its __required_keys__ overlook NotRequired in annotations that are strings
        full = typing.get_type_hints(shape, include_extras=True)
        return hints, [key for key in full if shape.__total__ and typing.get_origin(full[key]) is not NotRequired]
    if dataclasses.is_dataclass(shape):
        missing = dataclasses.MISSING
        optional = {f.name for f in dataclasses.fields(shape) if (f.default, f.default_factory) != (missing, missing)}
    else:
        optional = shape._field_defaults
    return hints, [name for name in hints if name not in optional]


def _is_instance(value: Any, expected: Any) -> bool:
    if expected in (None, type(None)):
        return value is None
    if isinstance(value, bool):
        return expected is bool
    if isinstance(value, int):
        return expected in (int, float) and abs(value) < 2**63
    return isinstance(value, expected) and (expected is not float or math.isfinite(value))


def _join(path: str, key: str) -> str:
    return f"{path}.{key:.60}" if path else f"{key:.60}"


def _name(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) < 2**63:
        return "a number that is too large, or not a number"
    return "null" if value is None else _NAMES[type(value)]

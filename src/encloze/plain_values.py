"""Conversion of single values of settings: numbers, booleans, texts, paths and choices."""

from __future__ import annotations

import functools
import math
import operator
import types
import typing
from pathlib import Path
from typing import Any

from encloze.settings import inner_type, path_fault, range_fault

_MAX_INTEGER = 2**63
_MAX_SHOWN = 200

Found = list[tuple[str, str]]
"""Position inside the value (``[0]``, ``.name``; empty for the value itself) and message of each fault."""


def convert(hint: Any, value: Any) -> tuple[Any, Found]:
    """Convert a value to the type of a setting.

    Common cases avoid the slow import of pydantic.

    Args:
        hint: Type of the setting, such as ``int``, ``Ratio | None`` or ``Path``.
        value: Value from a recipe, the command line or Python.

    Returns:
        The converted value, and the faults: the value has another type, is not a finite number, is an integer of more
        than 64 bits or outside its range, or is text that UTF-8 cannot encode. With faults, the value is meaningless.
    """
    inner = inner_type(hint)[0]
    if fault := unusable(value):
        return value, [("", fault)]
    if inner in (str, int, bool, float) and type(value) is inner:
        return _checked(hint, value)
    if inner is Path and isinstance(value, (str, Path)):
        message = path_fault(str(value))
        return Path(value), [("", message)] if message else []
    if inner is int and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return _checked(hint, int(value))
    if typing.get_origin(inner) is typing.Literal and isinstance(value, str) and value in typing.get_args(inner):
        return value, []
    return _validated(hint, value)


def shown(value: Any) -> str:
    """Return the beginning of a value for an error message, whatever it is."""
    try:
        return f"{value!r:.{_MAX_SHOWN}}"
    except (RecursionError, ValueError):  # an integer with more than 4,300 digits
        return f"a value of type {type(value).__name__}"


def unusable(value: Any) -> str:
    """Return why a value cannot be a setting, whatever its type; an empty string if it can.

    Such are numbers that are not finite or have more than 64 bits, and texts that UTF-8 cannot encode, also inside
    lists and dictionaries.
    """
    if isinstance(value, str):
        return "" if _is_encodable(value) else f"expected UTF-8 text, found {shown(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a number, found {value}"
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        return "expected a number of at most 64 bits, found a larger one"
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(unusable, value)), "")
    return ""


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(hint: Any, value: Any) -> tuple[Any, Found]:
    fault = unusable(value) or range_fault(hint, value)
    return value, [("", fault)] if fault else []


def _validated(hint: Any, value: Any) -> tuple[Any, Found]:
    from pydantic import ValidationError

    try:
        return _checked(hint, _adapter(hint).validate_python(value))
    except ValidationError as error:
        found = []
        for fault in error.errors():
            inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
            found.append((inside, _message(fault)))
        return value, found


def _without_range(hint: Any) -> Any:
    """Return a type without its declared range, which ``_checked`` compares, so that all messages are alike."""
    if typing.get_origin(hint) is typing.Annotated:
        return typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, map(_without_range, typing.get_args(hint)))
    return hint


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(
        _without_range(hint), config=ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)
    )


def _message(fault: Any) -> str:
    """Return the message that encloze shows for a validation error of pydantic."""
    found = f", found {shown(fault['input'])}"
    if fault["type"] == "path_type":
        return f"expected a path{found}"
    if fault["type"] == "literal_error":
        return f"expected {fault['ctx']['expected']}{found}"
    if fault["type"] == "int_parsing_size":
        return f"expected a number of at most 64 bits{found}"
    message = str(fault["msg"]).replace("Input should be", "expected").replace("a valid ", "a ")
    return message.replace("a integer", "a whole number").replace("a boolean", "true or false") + found

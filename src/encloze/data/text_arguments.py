"""Checks of texts and pairs of texts that are arguments of Python functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from encloze.data.rows import reader_of
from encloze.errors import RecipeError
from encloze.plain_values import shown


def strings(values: Any, function: str, argument: str) -> list[str]:
    """Return ``values`` as a list. Raises RecipeError if ``values`` is not a collection of strings."""
    if not is_list(values) or reader_of(values) is not None:
        raise RecipeError(function, [(argument, f"expected a list of strings, found {described(values)}")])
    listed = list(values)
    faults = [(f"{argument}[{at}]", fault) for at, value in enumerate(listed) if (fault := _fault_of_text(value))]
    if faults:
        raise RecipeError(function, faults[:5])
    return listed


def text_pairs(pairs: Any, function: str, argument: str) -> list[tuple[str, str]]:
    """Return ``pairs`` as a list. Raises RecipeError if ``pairs`` is not a collection of pairs of strings."""
    if not is_list(pairs):
        raise RecipeError(function, [(argument, f"expected a list of pairs of texts, found {described(pairs)}")])
    listed = list(pairs)
    for at, pair in enumerate(listed):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or any(map(_fault_of_text, pair)):
            message = f"expected a query and a document (two strings), found {described(pair)}"
            raise RecipeError(function, [(f"{argument}[{at}]", message)])
    return [(query, document) for query, document in listed]


def is_list(values: Any) -> bool:
    """Return whether ``values`` is a list or another ordered iterable, but not a string, a named tuple or a mapping."""
    is_one = isinstance(values, (str, bytes, Mapping, set, frozenset)) or hasattr(values, "_fields")
    return isinstance(values, Iterable) and not is_one and getattr(values, "ndim", 1) > 0


def _fault_of_text(value: Any) -> str:
    """Return an error message if a value is not a valid text; otherwise return an empty string."""
    if not isinstance(value, str):
        return f"expected a string, found {described(value)}"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"invalid text: unpaired surrogate {value[error.start]!a}"
    return ""


def described(value: object) -> str:
    """Return the type of a value and the beginning of its ``repr``, for messages."""
    text = shown(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"

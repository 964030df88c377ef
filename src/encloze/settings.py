"""Settings: frozen dataclasses whose fields are documented by the string below each field."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import os
import textwrap
import typing
from pathlib import Path
from typing import Any, ClassVar

_MAX_NAME_BYTES = 255
"""Limit of file systems."""


class Settings:
    """Base class of settings dataclasses.

    A field is a setting that users can set in a recipe, on the command line and in Python; the string below the field
    is its help text.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Training(Settings):
        ...     learning_rate: float = 2e-5
        ...     '''Peak learning rate.'''
    """

    # Read by pydantic when a recipe is validated; a plain dictionary, so that this module does not import pydantic.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
        "arbitrary_types_allowed": True,
        "coerce_numbers_to_str": True,
    }


@functools.cache
def help_of(kind: type) -> dict[str, str]:
    """Return the help text of each field of a dataclass, keyed by the field's name. Inherited fields are included."""
    texts: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner is not kind and not dataclasses.is_dataclass(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        for field, after in itertools.pairwise(body):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = inspect.cleandoc(text)
    return texts


@functools.cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the type of each dataclass field that is a constructor argument, keyed by field name, in order."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def nearest_setting(kind: type, name: str) -> str:
    """Return the end of an error message about an unknown setting: the most similar one, and all known ones.

    Settings of the settings of ``kind`` are suggested, too, such as ``training.learning_rate`` for ``learning_rate``.

    Args:
        kind: The settings dataclass.
        name: The unknown name.
    """
    hints = hints_of(kind)
    owners = {known: (known, kind) for known in hints}
    for outer, hint in hints.items():
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            owners = {inner: (f"{outer}.{inner}", hint) for inner in hints_of(hint)} | owners
    suggestion = ""
    if close := difflib.get_close_matches(name, owners, 1):
        path, owner = owners[close[0]]
        summary = help_of(owner).get(close[0], "").partition(". ")[0].rstrip(".")
        suggestion = f"did you mean {path!r} ({summary})? " if summary else f"did you mean {path!r}? "
    return f"{suggestion}known: {', '.join(hints)}"


def plain(value: object) -> Any:
    """Convert settings to plain values for YAML and JSON: dictionaries, lists, numbers and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = getattr(type(value), "name", None)
        head = {"type": name} if isinstance(name, str) and "name" not in hints_of(type(value)) else {}
        return head | {field: plain(getattr(value, field)) for field in hints_of(type(value))}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field; ``dataclasses.MISSING`` if the field is required."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def path_fault(text: str) -> str:
    """Return the reason why a text cannot be a path, or an empty string if the text can be a path."""
    if not text:
        return "expected a path, found an empty string"
    try:
        is_too_long = any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in Path(text).parts)
    except UnicodeEncodeError:
        is_too_long = False
    if is_too_long or "\0" in text or any("\ud800" <= letter <= "\udbff" for letter in text):
        cause = f"a name is longer than {_MAX_NAME_BYTES} bytes" if is_too_long else "it has an invalid character"
        return f"expected a path, found {text[:60]!a}: {cause}"
    return ""

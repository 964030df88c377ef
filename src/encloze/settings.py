"""Settings: frozen dataclasses whose fields are documented by the string below each field."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import math
import os
import textwrap
import types
import typing
from pathlib import Path
from typing import Annotated, Any, ClassVar

import annotated_types

_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4095
"""Limits of file systems."""

Range = annotated_types.Interval
"""Range of a number in ``Annotated[int, Range(ge=1, lt=9)]``: checked when a recipe is built and in Python."""
_LARGEST = (1e30, 2**31 - 1)
"""Largest number without a declared limit, and largest whole number."""

PositiveInt = Annotated[int, Range(ge=1)]
NonNegativeInt = Annotated[int, Range(ge=0)]
PositiveFloat = Annotated[float, Range(gt=0)]
NonNegativeFloat = Annotated[float, Range(ge=0)]
Ratio = Annotated[float, Range(ge=0, le=1)]
Seed = Annotated[int, Range(ge=0, le=2**32 - 1)]
"""Seed of random numbers. The limit is that of numpy; that of torch is higher."""


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

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if check := cls.__dict__.get("__post_init__"):

            @functools.wraps(check)
            def check_all(self: Settings) -> None:
                Settings.__post_init__(self)  # first, so that the class's own checks can rely on the ranges
                check(self)

            cls.__post_init__ = check_all  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Raise ValueError if a number is not finite, or is outside the range that its type declares."""
        for name, hint in annotated_hints_of(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if fault := range_fault(hint, number):
                    raise ValueError(f"{name} {fault}")


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
def annotated_hints_of(kind: type) -> dict[str, Any]:
    """Return the same types as ``hints_of``, with the ranges of numbers that are declared as ``Annotated``."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in hints_of(kind)}


def inner_type(kind: Any) -> tuple[Any, bool, bool]:
    """Return X for ``kind`` X, ``X | None`` or ``tuple[X, ...]``; whether it allows None; whether it is a tuple."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return inner_type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            inner, _, several = inner_type(rest[0])
            return inner, len(rest) < len(arguments), several
    if origin is tuple:
        return arguments[0], False, True
    return kind, False, False


def range_fault(hint: Any, value: Any) -> str:
    """Return why a number is not finite or is outside the range that its type declares; an empty string if neither.

    Without a declared limit, whole numbers have at most 32 bits and other numbers are at most 1e30, so that they fit
    into the types of numpy and torch.

    Example:
        >>> range_fault(Ratio | None, 1.5)
        'must be 0 or more and at most 1, not 1.5'
    """
    if not isinstance(value, (int, float)):
        return ""
    if not math.isfinite(value):
        return f"must be a number, not {value}"
    bounds = _declared_range(hint)
    largest = _LARGEST[type(value) is int]
    if (bounds.le is None and value > largest) or (bounds.ge is None and value < -largest):
        return f"must be {f'at most {largest:,}' if value > 0 else f'{-largest:,} or more'}, not {value:.6g}"
    inside = (
        (bounds.ge is None or value >= bounds.ge)
        and (bounds.gt is None or value > bounds.gt)
        and (bounds.le is None or value <= bounds.le)
        and (bounds.lt is None or value < bounds.lt)
    )
    return "" if inside else f"{_phrase(bounds)}, not {value}"


def _declared_range(hint: Any) -> Any:
    """Return the range in ``Annotated[X, Range(...)]``, also inside a union or a tuple; an empty range without one."""
    if typing.get_origin(hint) is Annotated:
        return typing.get_args(hint)[1]
    if typing.get_origin(hint) in (typing.Union, types.UnionType, tuple):
        found = (_declared_range(one) for one in typing.get_args(hint))
        return next((bounds for bounds in found if bounds != Range()), Range())
    return Range()


def _phrase(bounds: Any) -> str:
    """Return a range in words: ``must be 0 or more and below 1``."""
    phrases = {"{} or more": bounds.ge, "above {}": bounds.gt, "at most {}": bounds.le, "below {}": bounds.lt}
    return "must be " + " and ".join(words.format(value) for words, value in phrases.items() if value is not None)


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
        if len(os.fsencode(text)) > _MAX_PATH_BYTES:
            return f"expected a path, found {text[:60]!a}: it is longer than {_MAX_PATH_BYTES:,} bytes"
        is_too_long = any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in Path(text).parts)
    except UnicodeEncodeError:
        is_too_long = False
    if is_too_long or "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        cause = f"a name is longer than {_MAX_NAME_BYTES} bytes" if is_too_long else "it has an invalid character"
        return f"expected a path, found {text[:60]!a}: {cause}"
    return ""

"""Recipes: build settings from YAML files, command lines and Python arguments."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from encloze.errors import RecipeError
from encloze.family import Family, is_family
from encloze.plain_values import convert, shown
from encloze.settings import (
    Settings,
    annotated_hints_of,
    default_of,
    help_of,
    hints_of,
    inner_type,
    nearest_setting,
    plain,
)
from encloze.yaml_text import YamlTextError, parse_yaml

Tree = dict[str, Any]
Faults = list[tuple[str, str]]

_MAX_BYTES = 2**23
_INVALID = object()
"""Placeholder for a value that cannot be converted."""


class _Dumper(yaml.SafeDumper):
    """YAML dumper that quotes text with rare line separators, which unquoted YAML text would turn into spaces."""


def _quoted_if_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted_if_needed)


def shipped(verb: str) -> dict[str, Traversable]:
    """Return the recipe files that encloze includes for the command ``verb``, keyed by recipe name."""
    folder = resources.files("encloze.recipes").joinpath(verb)
    if not verb or not folder.is_dir():
        return {}
    return {file.name.removesuffix(".yaml"): file for file in sorted(folder.iterdir(), key=lambda file: file.name)}


def read(path: str | Path, verb: str = "") -> Tree:
    """Read the settings in a recipe.

    Args:
        path: A YAML file, or the name of a recipe that encloze includes for the command.
        verb: The command whose included recipes are searched.

    Raises:
        RecipeError: The file cannot be read, or is not a YAML mapping of settings.
    """
    if not isinstance(path, (str, Path)):
        raise RecipeError(
            "the recipe",
            [("", f"expected a YAML file or the name of a recipe included in encloze, found {shown(path)}")],
        )
    file, known = Path(path), shipped(verb)
    if str(path) in known:
        text = known[str(path)].read_text(encoding="utf-8")
    else:
        try:
            with file.open("rb") as stream:
                content = stream.read(_MAX_BYTES)  # parse_yaml refuses a longer text
            text = content.decode(errors="strict" if len(content) < _MAX_BYTES else "ignore")
        except (OSError, ValueError) as error:  # UnicodeDecodeError, or a null character in the path
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            shipping = f" or a recipe included in encloze ({', '.join(known)})" if known else ""
            message = f"cannot be read: {reason}. Give a YAML file{shipping}"
            raise RecipeError(f"the recipe {path}", [("", message)]) from error
    try:
        tree = plain(parse_yaml(text))
    except YamlTextError as error:
        raise RecipeError(f"the recipe {path}", [(error.where, f"invalid YAML: {error}")]) from error
    if tree is not None and not isinstance(tree, dict):
        message = f"contains a {type(tree).__name__}, but expected settings by name"
        raise RecipeError(f"the recipe {path}", [("", message)])
    return tree or {}


def apply_flags(tree: Tree, flags: list[tuple[str, str | None]]) -> Tree:
    """Return ``tree`` with flags applied: ``("a.b", "1")`` sets ``tree["a"]["b"]`` to ``"1"``; None sets it to true.

    A value is parsed as YAML if it starts like a list, a mapping or a quoted string or is ``null``. Otherwise it is
    text, which validation converts to a number or a boolean if the setting is one.
    """
    merged: Tree = plain(tree)
    # Short paths first: --objective retromae --objective.encoder_mask_rate 0.3 means the same in either order.
    for path, text in sorted(flags, key=lambda flag: flag[0].count(".")):
        value: Any = True if text is None else text
        if text is not None and (text[:1] in tuple("[{\"'") or text in ("null", "~")):
            try:
                value = parse_yaml(text)
            except YamlTextError as error:
                raise RecipeError("the command line", [(path, f"invalid YAML: {error}: {text!a:.200}")]) from error
        _put(merged, path.split("."), value)
    return merged


def build(kind: type, tree: Tree, *, source: str = "the recipe") -> Any:
    """Return an instance of the dataclass ``kind``, built from nested dictionaries and lists.

    Args:
        kind: A settings dataclass, such as a command.
        tree: Nested dictionaries and lists, as read from YAML. Values may already be objects of the declared types.
        source: Where the values come from, such as the name of a file; shown in error messages.

    Raises:
        RecipeError: The values are invalid. The error lists all faults.
    """
    faults: Faults = []
    built = _settings(kind, tree, "", faults)
    if faults:
        raise RecipeError(source, faults)
    return built


def dump(settings: object, head: Tree | None = None) -> str:
    """Return a recipe as YAML: the entries of ``head``, such as the command, then ``settings`` except ``type``."""
    values = {name: value for name, value in plain(settings).items() if name != "type"}
    return dump_tree({**(head or {}), **values})


def dump_tree(tree: Tree) -> str:
    """Return nested dictionaries and lists of plain values as YAML text."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def coerce(hint: Any, value: Any, *, source: str, name: str) -> Any:
    """Convert an argument of a Python call to its declared type, by the rules for settings of a recipe.

    Unlike in recipes, a string is never split into a list.

    Args:
        hint: The target type, such as ``tuple[Index, ...]`` or ``Fusion | None``.
        value: The argument: numbers, strings, lists and dictionaries as in a recipe, or objects of the target type.
        source: Name of the function, shown in error messages.
        name: Name of the argument, shown in error messages.

    Raises:
        RecipeError: The value cannot be converted. The message lists all faults.
    """
    faults = list_faults(hint, value, name)
    built = None if faults else _value(hint, value, name, faults)
    if faults:
        raise RecipeError(source, faults)
    return built


def list_faults(hint: Any, value: Any, path: str) -> Faults:
    """Return a list with one error if a list is expected and ``value`` is a string; otherwise an empty list."""
    if inner_type(hint)[2] and isinstance(value, (str, bytes)):
        return [(path, f"expected a list, found the string {value!r}. Write [{value!r}]")]
    return []


def json_schema(kind: type) -> Tree:
    """Return the JSON Schema of a recipe for ``kind``, with which editors complete and check recipes."""
    from pydantic import TypeAdapter

    schema: Tree = TypeAdapter(kind).json_schema()
    for setting, text in help_of(kind).items():  # pydantic does not find the help of inherited fields
        schema["properties"].get(setting, {}).setdefault("description", text)
    schema["properties"] = {"verb": {"const": getattr(kind, "name", None)}, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _value(hint: Any, value: Any, path: str, faults: Faults) -> Any:
    """Return ``value`` converted to type ``hint``. If it is invalid, add an error and return ``_INVALID``."""
    inner, optional, is_list = inner_type(hint)
    if value is None and optional:
        return None
    if is_list:
        if isinstance(value, dict) and value and _are_numbers(value) and max(value) >= len(value):
            number = max(value)
            return _fail(faults, f"{path}[{number}]", f"the list has no item {number}: it has {len(value) - 1} before")
        items = [_value(inner, item, f"{path}[{at}]", faults) for at, item in enumerate(_items(value))]
        return _INVALID if any(item is _INVALID for item in items) else tuple(items)
    if is_family(inner):
        return _member(inner, value, path, faults)
    if dataclasses.is_dataclass(inner):
        return _settings(typing.cast(type, inner), value, path, faults)
    built, found = convert(hint, value)
    faults += [(f"{path}{position}", message) for position, message in found]
    return _INVALID if found else built


def _items(value: Any) -> list[Any]:
    """Return the items of a list, of comma-separated text, or of a dict with integer keys; otherwise ``[value]``."""
    if isinstance(value, str):
        value = _split(value)
    if isinstance(value, dict) and _are_numbers(value):
        return [value[key] for key in sorted(value)]
    return list(value) if isinstance(value, (list, tuple, Iterator)) else [value]


def _are_numbers(keys: Iterable[Any]) -> bool:
    return all(type(key) is int for key in keys)


def _split(text: str) -> Any:
    """Return the items of comma-separated text; commas inside brackets and braces do not separate items."""
    if not any(sign in text for sign in "[{"):
        return [item.strip() for item in text.split(",")]
    try:
        return parse_yaml(f"[{text}]")
    except YamlTextError:
        return [text]  # which is no valid item, and reported as one


def _member(family: Any, value: Any, path: str, faults: Faults) -> Any:
    """Return an instance of a subclass of ``family``: ``value`` is its name, or a dict of its settings and ``type``."""
    if isinstance(value, family):
        return value
    if value == "":
        return _fail(faults, path, "expected a name or a path, found an empty string")
    settings = {"type": value} if isinstance(value, str) else value
    if not isinstance(settings, dict):
        members = ", ".join(family.members())
        return _fail(faults, path, f"expected a name ({members}) or settings with a type, found {shown(value)}")
    settings = dict(settings)
    try:
        member, settings = family.resolve_member(settings.pop("type", None), settings)
    except ValueError as error:
        return _fail(faults, path, str(error))
    except OSError as error:  # a path that cannot exist, such as one that is too long
        return _fail(faults, path, f"{value!r:.80} cannot be read: {error.strerror}")
    return _settings(member, settings, path, faults)


def _settings(kind: type, values: Any, path: str, faults: Faults) -> Any:
    """Return an instance of the settings dataclass ``kind``, built from a dict of values by name."""
    if isinstance(values, kind):
        return values
    if not isinstance(values, dict):
        return _fail(faults, path, f"expected settings by name ({', '.join(hints_of(kind))}), found {shown(values)}")
    if "type" in values and values["type"] == getattr(kind, "name", None):  # as a member of a family is written
        values = {name: value for name, value in values.items() if name != "type"}
    fields = {field.name: default_of(field) for field in dataclasses.fields(kind) if field.init}
    hints, arguments, before = annotated_hints_of(kind), dict[str, Any](), len(faults)
    for name, value in values.items():
        at = f"{path}.{name}" if path else str(name)
        if name in hints:
            arguments[name] = _value(hints[name], _with_defaults(hints[name], value, fields[name]), at, faults)
        else:
            _fail(faults, at, f"unknown setting; {nearest_setting(kind, str(name))}")
    for name, default in fields.items():
        if default is dataclasses.MISSING and name not in values:
            _fail(faults, f"{path}.{name}" if path else name, "is required")
    if len(faults) > before:
        return _INVALID
    try:
        return type.__call__(kind, **arguments)  # not the call of commands, which converts arguments as this does
    except ValueError as error:
        return _fail(faults, path, str(error))
    except OSError as error:  # settings that look at the files they name
        return _fail(faults, path, f"{error.filename} cannot be read: {error.strerror}")


def _with_defaults(hint: Any, value: Any, default: Any) -> Any:
    """Return ``value``; to a dict, add missing settings of ``default`` (if ``hint`` is a family, only ``type``)."""
    if isinstance(value, dict) and is_family(inner_type(hint)[0]):
        is_default_member = "type" not in value and hasattr(type(default), "name")
        return {"type": type(default).name, **value} if is_default_member else value
    if isinstance(value, dict) and isinstance(default, Settings) and not isinstance(default, Family):
        return {**plain(default), **value}  # settings that are not given keep the command's defaults
    return value


def _fail(faults: Faults, path: str, message: str) -> Any:
    faults.append((path, message))
    return _INVALID


def _put(tree: Tree, path: list[str], value: Any) -> None:
    rest = path[1:]
    key: Any = int(path[0]) if re.fullmatch("[0-9]{1,9}", path[0]) else path[0]
    here = tree.get(key)
    if rest:
        if isinstance(here, str) and rest[0].isdigit():
            here = dict(enumerate(here.split(",")))
        elif isinstance(here, str):
            here = {"type": here}
        elif isinstance(here, list):
            here = dict(enumerate(here))
        elif not isinstance(here, dict):
            here = {}
        tree[key] = here
        _put(here, rest, value)
    elif isinstance(here, dict) and isinstance(value, str) and here.get("type") == value:
        return  # the recipe selected this member already: keep its settings
    else:
        tree[key] = value

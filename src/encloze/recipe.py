"""Recipes: a YAML file and the flags of a command line in one tree, validated once into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from encloze.errors import RecipeError
from encloze.family import Family, is_family, nearest
from encloze.settings import Settings, default_of, hints_of, plain

Tree = dict[str, Any]
Faults = list[tuple[str, str]]


class _Dumper(yaml.SafeDumper):
    """YAML's plain style folds these rare line ends into blanks, so text that holds one is quoted and escaped."""


def _quoted_if_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted_if_needed)


def shipped(verb: str) -> dict[str, Traversable]:
    """The recipes for a verb that ship with encloze, by name."""
    folder = resources.files("encloze.recipes").joinpath(verb)
    if not verb or not folder.is_dir():
        return {}
    return {file.name.removesuffix(".yaml"): file for file in sorted(folder.iterdir(), key=lambda file: file.name)}


def read(path: str | Path, verb: str = "") -> Tree:
    """The tree that a YAML file holds; ``path`` may also be the name of a recipe for the verb that ships."""
    file, known = Path(path), shipped(verb)
    if str(path) in known:
        text = known[str(path)].read_text(encoding="utf-8")
    else:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            shipping = f" or a recipe that ships ({', '.join(known)})" if known else ""
            message = f"cannot be read: {reason}. Give a YAML file{shipping}"
            raise RecipeError(f"the recipe {path}", [("", message)]) from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"the recipe {path}", [(where, f"no YAML: {getattr(error, 'problem', error)}")]) from error
    if tree is not None and not isinstance(tree, dict):
        raise RecipeError(f"the recipe {path}", [("", f"holds a {type(tree).__name__}, not settings by name")])
    return tree or {}


def apply_flags(tree: Tree, flags: list[tuple[str, str | None]]) -> Tree:
    """``tree`` with flags laid over it: ``("a.b", "1")`` sets ``b`` of ``a``; no value means true.

    A value is YAML where it starts like a list, a mapping or a quoted string or is ``null``, and text otherwise,
    which validation turns into a number or a truth where the setting is one.
    """
    merged: Tree = _copied(tree)
    # Short paths first: --objective retromae --objective.encoder_mask_rate 0.3 means the same in either order.
    for path, text in sorted(flags, key=lambda flag: flag[0].count(".")):
        value: Any = True if text is None else text
        if text is not None and (text[:1] in tuple("[{\"'") or text in ("null", "~")):
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise RecipeError("the command line", [(path, f"no YAML: {text!r}")]) from error
        _put(merged, path.split("."), value)
    return merged


def build(kind: type, tree: Tree, *, source: str = "the recipe") -> Any:
    """Build the dataclass ``kind`` from a tree of plain values; raise one RecipeError that lists all faults."""
    from pydantic import TypeAdapter, ValidationError

    faults: Faults = []
    built: Any = None
    completed = _completed(kind, tree, "", faults)
    try:
        built = TypeAdapter(kind).validate_python(completed)
    except ValidationError as error:
        faults += [(_path(fault["loc"]), _message(fault)) for fault in error.errors()]
    if faults:
        raise RecipeError(source, faults)
    return built


def dump(settings: object, head: Tree | None = None) -> str:
    """The YAML text that ``build`` would turn back into ``settings``; ``head`` stands in place of its type."""
    values = {name: value for name, value in plain(settings).items() if name != "type"}
    return yaml.dump({**(head or {}), **values}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def json_schema(kind: type) -> Tree:
    """The JSON Schema of a recipe for ``kind``, with which an editor completes and checks it."""
    from pydantic import TypeAdapter

    schema: Tree = TypeAdapter(kind).json_schema()
    schema["properties"] = {"verb": {"const": getattr(kind, "name", None)}, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def inner_type(kind: Any) -> tuple[Any, bool, bool]:
    """What ``X | None`` and ``tuple[X, ...]`` hold: (X, whether it is optional, whether it is a tuple)."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            inner, _, several = inner_type(rest[0])
            return inner, len(rest) < len(arguments), several
    if origin is tuple:
        return arguments[0], False, True
    return kind, False, False


def _completed(kind: Any, value: Any, path: str, faults: Faults) -> Any:
    """``value`` made ready for validation: shorthands written out, unknown names taken out and reported."""
    inner, optional, several = inner_type(kind)
    if value is None and optional:
        return None
    if several:
        items = _split(value) if isinstance(value, str) else value
        if isinstance(items, dict) and all(isinstance(key, int) for key in items):
            items = [items[key] for key in sorted(items)]
        if not isinstance(items, (list, tuple)):
            items = [items]
        return [_completed(inner, item, f"{path}[{at}]", faults) for at, item in enumerate(items)]
    if is_family(inner):
        return _completed_member(inner, value, path, faults)
    if dataclasses.is_dataclass(inner) and isinstance(value, dict):
        if value.get("type") == getattr(inner, "name", value):  # as a member of a family is written
            value = {name: item for name, item in value.items() if name != "type"}
        return _completed_fields(typing.cast(type, inner), value, path, faults)
    return value


def _split(text: str) -> Any:
    """The items of ``a,b``; commas inside brackets and braces part nothing."""
    if not any(sign in text for sign in "[{"):
        return [item.strip() for item in text.split(",")]
    try:
        return yaml.safe_load(f"[{text}]")
    except yaml.YAMLError:
        return [text]  # validation says what is wrong with it


def _completed_member(family: Any, value: Any, path: str, faults: Faults) -> Any:
    values = {"type": value} if isinstance(value, str) else value
    if not isinstance(values, dict):
        return values
    rest = dict(values)
    try:
        member, rest = family.chosen(rest.pop("type", None), rest)
    except ValueError:
        return values  # validation meets the same error and reports it
    return {"type": member.name, **_completed_fields(member, rest, path, faults)}


def _completed_fields(kind: type, values: Tree, path: str, faults: Faults) -> Tree:
    hints, completed = hints_of(kind), {}
    for name, value in values.items():
        at = f"{path}.{name}" if path else str(name)
        if name not in hints:
            faults.append((at, f"no such setting; {nearest(name, list(hints))}"))
            continue
        default = default_of(next(field for field in dataclasses.fields(kind) if field.name == name))
        nameless = is_family(inner_type(hints[name])[0]) and isinstance(value, dict) and "type" not in value
        if nameless and hasattr(type(default), "name"):  # settings of the default member
            value = {"type": type(default).name, **value}
        elif isinstance(value, dict) and isinstance(default, Settings) and not isinstance(default, Family):
            value = {**plain(default), **value}  # what is not asked for stays as this verb has it
        completed[name] = _completed(hints[name], value, at, faults)
    return completed


def _put(tree: Tree, path: list[str], value: Any) -> None:
    rest = path[1:]
    key: Any = int(path[0]) if path[0].isdigit() else path[0]
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
        return  # the member that the recipe chose already: its settings stay
    else:
        tree[key] = value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _message(fault: Any) -> str:
    """A fault that pydantic found, in our words."""
    found = f", found {fault['input']!r}" if fault["type"] not in ("missing", "value_error") else ""
    if fault["type"] in ("missing", "missing_argument"):
        return "is required"
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "literal_error":
        return f"expected {fault['ctx']['expected']}{found}"
    words = str(fault["msg"]).replace("Input should be", "expected").replace("a valid ", "a ")
    return words.replace("a integer", "a whole number").replace("a boolean", "true or false") + found

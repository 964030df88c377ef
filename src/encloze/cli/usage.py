"""What ``--help`` prints: verbs with a sentence each, or a verb's settings with help, kind and default."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encloze.commands.base import Command
from encloze.family import is_family, summary_of
from encloze.recipe import Tree, inner_type, shipped
from encloze.settings import default_of, help_of, hints_of, plain

_WIDTH = 100
_KINDS = {int: "N", float: "X", str: "TEXT", bool: "", Path: "PATH"}


def overview() -> str:
    """The help of ``encloze`` itself."""
    lines = ["encloze VERB [RECIPE.yaml] [--setting VALUE ...]", "", "Your own text, turned into a retriever.", ""]
    folder = Path(next(iter(sys.modules[Command.package()].__path__)))
    for name in Command.members():
        lines.append(f"  {name:<19} {summary_of(folder / f'{name}.py')}")
    lines += ["", "encloze VERB --help shows a verb's settings, encloze list the parts a recipe can choose from."]
    return "\n".join(lines)


def usage(kind: Any, tree: Tree) -> str:
    """The help of one verb; ``tree`` holds what a recipe and flags set already, shown as defaults."""
    words = "".join(f" [{word.upper()}]" for word in kind.positional_settings)
    lines = [f"encloze {kind.name} [RECIPE.yaml]{words} [--setting VALUE ...]", ""]
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        lines += textwrap.wrap(" ".join(paragraph.split()), _WIDTH)
    if known := shipped(kind.name):
        lines += ["", f"Recipes that ship: {', '.join(known)}"]
    lines += ["", "Settings:", *_settings(kind, tree, "--", 1), "", "Also:"]
    lines += _entry("--print-recipe", "Print the settings, checked and complete, as YAML, and stop.", 1)
    lines += _entry("--print-schema", "Print the JSON Schema of this verb's recipes, for editors, and stop.", 1)
    return "\n".join(lines)


def _settings(kind: Any, tree: Tree, prefix: str, depth: int) -> Iterator[str]:
    helps = help_of(kind)
    for field in dataclasses.fields(kind):
        if field.name not in hints_of(kind):
            continue
        hint = hints_of(kind)[field.name]
        inner, _, several = inner_type(hint)
        given = tree.get(field.name, dataclasses.MISSING)
        default = default_of(field)
        value = plain(default) if given is dataclasses.MISSING and default is not dataclasses.MISSING else given
        shown = _shown(value)
        kind_name = _kind(inner, several)
        suffix = " (required)" if value is dataclasses.MISSING else f" (default: {shown})" * bool(shown)
        yield from _entry(f"{prefix}{field.name} {kind_name}".rstrip(), helps.get(field.name, "") + suffix, depth)
        if several:
            continue
        if is_family(inner):
            yield from _member(inner, value, f"{prefix}{field.name}.", depth + 1)
        elif dataclasses.is_dataclass(inner):
            nested = plain(default) if dataclasses.is_dataclass(default) else {}
            nested |= value if isinstance(value, dict) else {}
            yield from _settings(inner, nested, f"{prefix}{field.name}.", depth + 1)


def _member(family: Any, value: Any, prefix: str, depth: int) -> Iterator[str]:
    """The settings of the chosen member of a family, if one is chosen."""
    values = {"type": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
    if values:
        try:
            member, rest = family.resolve_member(values.pop("type", None), values)
        except ValueError:
            return  # a wrong name is reported when the verb runs; help still shows the rest
        yield from _settings(member, rest, prefix, depth)


def _kind(inner: Any, several: bool) -> str:
    if is_family(inner):
        name = "|".join(inner.members())
    elif typing.get_origin(inner) is typing.Literal:
        name = "|".join(map(str, typing.get_args(inner)))
    else:
        name = _KINDS.get(inner, "")
    return f"[{name}, ...]" if several else name


def _shown(value: Any) -> str:
    if value is dataclasses.MISSING or value is None or value == "" or value == []:
        return ""
    if isinstance(value, dict):
        return str(value.get("type", ""))
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _entry(flag: str, text: str, depth: int) -> list[str]:
    indent = "  " * depth
    wrapped = textwrap.wrap(" ".join(text.split()), _WIDTH - 8 - len(indent), break_on_hyphens=False)
    return [*_flag(flag, indent), *(f"{indent}      {line}" for line in wrapped)]


def _flag(flag: str, indent: str) -> Iterator[str]:
    """A flag with its kind; many names to choose from take more than one line."""
    line = indent
    for number, word in enumerate(flag.split("|")):
        joined = f"|{word}" if number else word
        if number and len(line) + len(joined) > _WIDTH:
            yield line + "|"
            line, joined = f"{indent}      ", word
        line += joined
    yield line

"""Help texts: the list of commands, and the settings of one command with their types and defaults."""

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
from encloze.recipe import Tree, shipped
from encloze.settings import default_of, help_of, hints_of, inner_type, plain

_WIDTH = 100
_TYPE_NAMES = {int: "N", float: "X", str: "TEXT", bool: "", Path: "PATH"}
_DOCSTRING_SECTIONS = ("Args:", "Returns:", "Raises:", "Example:", "Examples:")
"""Sections of docstrings for Python programs, which the help of a command omits."""
_GROUPS = {
    "Train": (
        "pretrain",
        "finetune",
        "finetune_reranker",
        "finetune_classifier",
        "distill",
        "prune_vocabulary",
        "merge",
        "calibrate",
        "export",
    ),
    "Prepare training data": ("inspect", "generate", "mine", "score", "encode"),
    "Search": ("plan", "index", "search", "serve", "add", "update", "delete", "compact", "reindex", "threshold"),
    "Evaluate": ("evaluate", "compare", "gate", "robustness", "label", "compress", "probe", "report"),
    "Workflows": ("demo", "run", "rerun", "verify", "list"),
}
"""Commands in the order of the help; commands in no group, such as those of plugins, are listed last."""


def overview() -> str:
    """Return the help of ``encloze`` with all commands in groups."""
    lines = [
        "Train, evaluate and serve retrieval models on your own text.",
        "",
        "encloze COMMAND [RECIPE.yaml] [--setting VALUE ...]",
    ]
    for title, names in grouped_commands().items():
        lines += ["", f"{title}:"]
        for name in names:
            wrapped = textwrap.wrap(_summary(name).rstrip("."), _WIDTH - 22, break_on_hyphens=False)
            lines += [f"  {name:<19} {wrapped[0]}", *(f"{'':<22}{line}" for line in wrapped[1:])]
    lines += [
        "",
        "encloze COMMAND --help lists the settings of a command, encloze list the components a recipe can choose.",
        "Hyphens and underscores are interchangeable in commands and settings.",
        "encloze --print-completion bash|zsh|fish prints a script for shell completion, --version the version.",
    ]
    return "\n".join(lines)


def grouped_commands() -> dict[str, list[str]]:
    """Return the names of the commands in each group of the help, keyed by the title of the group."""
    members = Command.members()
    groups = {title: [name for name in names if name in members] for title, names in _GROUPS.items()}
    known = {name for names in _GROUPS.values() for name in names}
    if others := [name for name in members if name not in known]:
        groups["Other"] = others
    return groups


def _summary(command: str) -> str:
    """Return the first sentence of the docstring of a command's module, read without importing the module.

    For the command of a plugin, return a fixed text.
    """
    file = Path(next(iter(sys.modules[Command.package()].__path__))) / f"{command}.py"
    return summary_of(file) if file.is_file() else "Command of a plugin."


def usage(kind: Any, tree: Tree) -> str:
    """Return the help of one command.

    Args:
        kind: Class of the command.
        tree: Settings given by a recipe and on the command line; the help shows their values in place of the defaults.
    """
    positional = "".join(f" [{name.upper()}]" for name in kind.positional_settings)
    lines = [f"encloze {kind.name} [RECIPE.yaml]{positional} [--setting VALUE ...]", ""]
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        if paragraph.startswith(_DOCSTRING_SECTIONS):
            break
        lines += [*textwrap.wrap(" ".join(paragraph.split()), _WIDTH), ""]
    if recipes := shipped(kind.name):
        lines += [f"Shipped recipes: {', '.join(recipes)}", ""]
    lines += ["Settings:", *_settings(kind, tree, "--", 1), "", "Other options:"]
    lines += _entry("--print-recipe", "Print the validated settings as YAML without running the command.", 1)
    lines += _entry("--allow-api-keys", "Let the recipe send API keys in environment variables to servers.", 1)
    lines += _entry("--print-schema", "Print the JSON Schema of the command's recipes, for editors.", 1)
    return "\n".join(lines)


def _settings(kind: Any, tree: Tree, prefix: str, depth: int) -> Iterator[str]:
    helps = help_of(kind)
    for field in dataclasses.fields(kind):
        if field.name not in hints_of(kind):
            continue
        inner, _, is_list = inner_type(hints_of(kind)[field.name])
        default = default_of(field)
        value = tree.get(field.name, dataclasses.MISSING)
        if value is dataclasses.MISSING and default is not dataclasses.MISSING:
            value = plain(default)
        shown = _shown(value)
        suffix = " (required)" if value is dataclasses.MISSING else f" (default: {shown})" * bool(shown)
        flag = f"{prefix}{field.name} {_type_name(inner, is_list=is_list)}".rstrip()
        yield from _entry(flag, helps.get(field.name, "") + suffix, depth)
        if is_list:
            continue
        if is_family(inner):
            yield from _member_settings(inner, value, f"{prefix}{field.name}.", depth + 1)
        elif dataclasses.is_dataclass(inner):
            nested = plain(default) if dataclasses.is_dataclass(default) else {}
            nested |= value if isinstance(value, dict) else {}
            yield from _settings(inner, nested, f"{prefix}{field.name}.", depth + 1)


def _member_settings(family: Any, value: Any, prefix: str, depth: int) -> Iterator[str]:
    """Yield help lines for the settings of the component that ``value`` names, a class registered in ``family``.

    No lines are yielded if ``value`` names no component or an unknown one.
    """
    values = {"type": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
    if values:
        try:
            member, rest = family.resolve_member(values.pop("type", None), values)
        except (OSError, ValueError):
            return  # an unknown name is an error when the command runs; help still shows the other settings
        yield from _settings(member, rest, prefix, depth)


def _type_name(inner: Any, *, is_list: bool) -> str:
    choices = choices_of(inner)
    name = "|".join(choices) if choices else _TYPE_NAMES.get(inner, "")
    return f"[{name}, ...]" if is_list else name


def choices_of(inner: Any) -> list[str]:
    """Return the names allowed as values of a setting of the type ``inner``; an empty list if it has no fixed names."""
    if is_family(inner):
        return list(inner.members())
    if typing.get_origin(inner) is typing.Literal:
        return [str(value) for value in typing.get_args(inner)]
    return []


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
    return [*_flag_lines(flag, indent), *(f"{indent}      {line}" for line in wrapped)]


def _flag_lines(flag: str, indent: str) -> Iterator[str]:
    """Yield the help lines with the name and type of a setting. Long lines are broken after a ``|``."""
    line = indent
    for number, word in enumerate(flag.split("|")):
        addition = f"|{word}" if number else word
        if number and len(line) + len(addition) >= _WIDTH:  # one column is for the bar at the end
            yield line + "|"
            line, addition = f"{indent}      ", word
        line += addition
    yield line

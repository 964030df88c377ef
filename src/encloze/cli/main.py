"""The command line: find the verb, fill its settings from a recipe and flags, run it, show what comes back.

encloze VERB [RECIPE.yaml] [--setting VALUE ...]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.cli.usage import overview, usage
from encloze.commands.base import get_command
from encloze.errors import EnclozeError, RecipeError
from encloze.recipe import inner_type
from encloze.settings import hints_of
from encloze.storage.provenance import versions

_TRUTHS = {"true", "false", "yes", "no", "on", "off", "1", "0"}
_OWN = ("help", "print_recipe", "print_schema")

Flags = list[tuple[str, str | None]]


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(given)
    except EnclozeError as error:
        if os.environ.get("ENCLOZE_DEBUG"):
            raise
        print(f"encloze: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("encloze: stopped. A training goes on from its last checkpoint with --resume", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) had enough
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
        return 0


def _main(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if given else 2
    if given[0] == "--version":
        print(f"encloze {versions().get('encloze', 'not installed')}")
        return 0
    kind = get_command(given[0])
    words, flags = split(kind, given[1:])
    tree, source = _recipe(kind, words)
    tree = recipe.apply_flags(tree, [(name, value) for name, value in flags if name not in _OWN])
    asked = {name for name, _ in flags if name in _OWN}
    if "help" in asked:
        print(usage(kind, tree))
    elif "print_schema" in asked:
        import json

        print(json.dumps(recipe.json_schema(kind), indent=2))
    else:
        task = recipe.build(kind, tree, source=source)
        if "print_recipe" in asked:
            print(recipe.dump(task, {"verb": kind.name}), end="")
        else:
            from encloze.cli import display

            display.run(task)
    return 0


def split(kind: Any, arguments: list[str]) -> tuple[list[str], Flags]:
    """The words of a command line, and its flags as (path, value); a flag without a value has None."""
    words: list[str] = []
    flags: Flags = []
    hints, at = hints_of(kind), 0
    while at < len(arguments):
        argument, at = arguments[at], at + 1
        if argument == "-h":
            argument = "--help"
        if not argument.startswith("--") or argument == "--":
            words.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name not in hints and hints.get(name.removeprefix("no_")) is bool and not equals:  # --no-texts
            flags.append((name.removeprefix("no_"), "false"))
            continue
        following = arguments[at] if at < len(arguments) else None
        is_switch = name in _OWN or (hints.get(name) is bool and (following or "").lower() not in _TRUTHS)
        if equals:
            flags.append((name, value))
        elif following is None or following.startswith("--") or is_switch:
            flags.append((name, None))
        else:
            flags.append((name, following))
            at += 1
    return words, flags


def _recipe(kind: Any, words: list[str]) -> tuple[recipe.Tree, str]:
    """The tree that the words of a command line stand for, and its name for messages."""
    tree: recipe.Tree = {}
    source = "the command line"
    if words and (words[0].endswith((".yaml", ".yml")) or words[0] in recipe.shipped(kind.name)):
        source = f"the recipe {words[0]} with the command line"
        tree, words = recipe.read(words[0], kind.name), words[1:]
        named = tree.pop("verb", kind.name)
        if named != kind.name:
            raise RecipeError(source, [("verb", f"the recipe is for {named!r}. Use: encloze {named} ...")])
    if (
        words and kind.positional_settings and inner_type(hints_of(kind)[kind.positional_settings[-1]])[2]
    ):  # the last one takes all the rest
        before = len(kind.positional_settings) - 1
        tree, words = {**tree, kind.positional_settings[-1]: words[before:]}, words[:before]
    if len(words) > len(kind.positional_settings):
        extra = words[len(kind.positional_settings)]
        raise RecipeError(
            "the command line",
            [("", f"{extra!r} is no flag and no recipe. Settings are given as --setting VALUE (encloze VERB --help)")],
        )
    return {**tree, **dict(zip(kind.positional_settings, words, strict=False))}, source


if __name__ == "__main__":
    sys.exit(main())

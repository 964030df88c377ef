"""Entry point of the command line: ``encloze COMMAND [RECIPE.yaml] [--setting VALUE ...]``.

It finds the command, takes the settings from a recipe and from the arguments, runs it and prints the result.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.cli.usage import overview, usage
from encloze.commands._api_keys import OPTION, refuse_api_keys
from encloze.commands.base import get_command
from encloze.errors import EnclozeError, RecipeError
from encloze.escapes import visible
from encloze.plain_values import unusable
from encloze.settings import hints_of, inner_type
from encloze.storage.provenance import versions

_BOOLEANS = {"true", "false", "yes", "no", "on", "off", "1", "0"}
_OPTIONS = ("help", "print_recipe", "print_schema", OPTION)
"""Options of every command that are not settings."""

Flags = list[tuple[str, str | None]]
"""Settings on the command line as pairs of path and value; the value is None if none is given."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Arguments without the name of the program; by default ``sys.argv[1:]``.

    Returns:
        Exit code: 0 for success, 1 if ``verify`` finds damage, 2 for an error that the user can correct, 130 after
        Ctrl-C.
    """
    # Waiting threads sleep instead of spinning: on a busy machine, spinning took 40 % more CPU time for short texts.
    # The variable is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The imports of torch and transformers create very many objects that stay: with fewer garbage collections, the
    # first model is loaded in 15 % less time.
    gc.set_threshold(50_000)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal may not have all letters of the texts
            stream.reconfigure(errors="backslashreplace")
    try:
        if arguments is None and {"-h", "--help"} & set(sys.argv[2:]):
            from encloze.cli.placeholders import use_placeholders

            use_placeholders()
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except EnclozeError as error:
        if os.environ.get("ENCLOZE_DEBUG"):
            raise
        print(visible(f"encloze: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("encloze: interrupted. Add --resume to continue a training from its last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the program that reads the output, such as head, has ended
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        return 0


def _run(arguments: list[str]) -> int:
    if faults := [("", fault) for fault in map(unusable, arguments) if fault]:
        raise RecipeError("the command line", faults)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"encloze {versions().get('encloze', 'not installed')}")
        return 0
    option, _, shell = arguments[0].partition("=")
    if option.replace("_", "-") == "--print-completion":
        from encloze.cli.completion import completion_script

        print(completion_script(shell or " ".join(arguments[1:])), end="")
        return 0
    return _run_command(get_command(arguments[0].replace("-", "_")), arguments[1:])


def _run_command(kind: Any, arguments: list[str]) -> int:
    positional, flags = split_arguments(kind, arguments)
    saved, source = _settings_tree(kind, positional)
    options = {name for name, _ in flags if name in _OPTIONS}
    settings = [flag for flag in flags if flag[0] not in _OPTIONS or flag[0] in hints_of(kind)]
    tree = recipe.apply_flags(saved, settings)
    if "help" in options:
        print(visible(usage(kind, tree)))
    elif "print_schema" in options:
        import json

        print(json.dumps(recipe.json_schema(kind), indent=2))
    else:
        command = recipe.build(kind, tree, source=source)
        if "print_recipe" in options:
            print(recipe.dump(command, {"verb": kind.name}), end="")
        else:
            from encloze.cli import display

            if OPTION not in options:
                refuse_api_keys(saved, source)
            return display.run(command)
    return 0


def split_arguments(kind: Any, arguments: list[str]) -> tuple[list[str], Flags]:
    """Split the arguments of a command into positional ones and settings.

    Settings may be typed with hyphens or underscores: ``--training.save-steps 9`` sets ``save_steps`` of ``training``.
    A boolean setting without a value is true, and ``--no-NAME`` sets it to false.

    Args:
        kind: Class of the command.
        arguments: Arguments after the command's name.

    Returns:
        The positional arguments, and for each setting a pair of its name, such as ``training.save_steps``, and its
        value. The value is None if the setting was given without one.
    """
    positional: list[str] = []
    flags: Flags = []
    hints, position = hints_of(kind), 0
    while position < len(arguments):
        argument, position = arguments[position], position + 1
        if argument == "-h":
            argument = "--help"
        if not argument.startswith("--") or argument == "--":
            positional.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name not in hints and hints.get(name.removeprefix("no_")) is bool and not equals:
            flags.append((name.removeprefix("no_"), "false"))
            continue
        following = arguments[position] if position < len(arguments) else None
        is_switch = name in _OPTIONS or (hints.get(name) is bool and (following or "").lower() not in _BOOLEANS)
        if equals:
            flags.append((name, value))
        elif following is None or following.startswith("--") or is_switch:
            flags.append((name, None))
        else:
            flags.append((name, following))
            position += 1
    return positional, flags


def _settings_tree(kind: Any, positional: list[str]) -> tuple[recipe.Tree, str]:
    """Return the settings given by positional arguments (a recipe, values), and their source for error messages."""
    tree: recipe.Tree = {}
    source = "the command line"
    names = kind.positional_settings
    if positional and (file := _recipe_name(positional[0], kind.name)):
        source = f"the recipe {file} with the command line"
        tree, positional = recipe.read(file, kind.name), positional[1:]
        command = tree.pop("verb", kind.name)
        if command != kind.name:
            raise RecipeError(source, [("verb", f"the recipe is for {command!r}. Use: encloze {command} ...")])
    if positional and names and inner_type(hints_of(kind)[names[-1]])[2]:  # the last one takes all remaining values
        before = len(names) - 1
        tree, positional = {**tree, names[-1]: positional[before:]}, positional[:before]
    if len(positional) > len(names):
        message = (
            f"unexpected argument {positional[len(names)]!r}. Write settings as --setting VALUE; "
            f"encloze {kind.name} --help lists them"
        )
        raise RecipeError("the command line", [("", message)])
    return {**tree, **dict(zip(names, positional, strict=False))}, source


def _recipe_name(argument: str, command: str) -> str:
    """Return the YAML file or shipped recipe that an argument names; an empty string if it names neither."""
    if argument.endswith((".yaml", ".yml")):
        return argument
    names = recipe.shipped(command)
    return next((name for name in (argument, argument.replace("-", "_")) if name in names), "")


if __name__ == "__main__":
    sys.exit(main())

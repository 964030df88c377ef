"""Shell completion: scripts for bash, zsh and fish with all commands, settings, choices and shipped recipes.

The scripts are static, so that completion does not start Python. Print them again after an update or after the
installation of a plugin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from encloze.cli.usage import choices_of
from encloze.commands.base import Command, get_command
from encloze.errors import MissingExtraError, RecipeError
from encloze.family import family_folders, is_family
from encloze.recipe import shipped
from encloze.settings import hints_of, inner_type

SHELLS = ("bash", "zsh", "fish")
_OPTIONS = ("help", "print_recipe", "print_schema", "allow_api_keys")
_GLOBAL_OPTIONS = ("help", "version", "print_completion")


class CommandWords(NamedTuple):
    """Completions of one command: its settings and positional arguments."""

    settings: dict[str, list[str]]
    """Allowed values, keyed by setting (``training.precision``); an empty list if a setting has no fixed choices."""
    positional: list[str]
    """Values for positional arguments: names of shipped recipes; for ``encloze list``, kinds of components."""


def completion_script(shell: str) -> str:
    """Return the completion script for a shell.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.

    Raises:
        RecipeError: The shell is not supported.
    """
    if shell not in SHELLS:
        message = f"unknown shell {shell!r}. Use: encloze --print-completion {'|'.join(SHELLS)}"
        raise RecipeError("the command line", [("print_completion", message)])
    words = {name: _words_of(name) for name in Command.members()}
    return _fish_script(words) if shell == "fish" else _bash_script(words, is_zsh=shell == "zsh")


def _words_of(name: str) -> CommandWords:
    positional = list(shipped(name))
    if name == "list":
        positional += family_folders()
    try:
        kind = get_command(name)
    except (ImportError, MissingExtraError):  # it needs an extra, such as train, that is not installed
        return CommandWords({}, positional)
    return CommandWords(dict(_settings(kind, "", ())), positional)


def _settings(kind: Any, prefix: str, parents: tuple[Any, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each setting of the class ``kind`` and its possible values.

    Settings of nested objects are included, with names such as ``training.precision``.
    """
    for name, hint in hints_of(kind).items():
        inner, _, is_list = inner_type(hint)
        yield f"{prefix}{name}", ["true", "false"] if inner is bool else choices_of(inner)
        if is_list or inner in parents:
            continue
        if is_family(inner):
            for member in inner.members():
                try:
                    yield from _settings(inner.member(member), f"{prefix}{name}.", (*parents, inner))
                except (ImportError, MissingExtraError):
                    continue
        elif dataclasses.is_dataclass(inner):
            yield from _settings(inner, f"{prefix}{name}.", (*parents, inner))


_BASH = """\
# Completion of encloze. To enable it, add the next line to {file}:
#   source <(encloze --print-completion {shell})
{prelude}_encloze() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local command="${{COMP_WORDS[1]//-/_}}" setting words prefix=""
  COMPREPLY=()
  # bash splits --setting=value into three words.
  if [[ $current == "=" ]]; then
    current=""
  elif [[ $previous == "=" && COMP_CWORD -ge 3 ]]; then
    previous="${{COMP_WORDS[COMP_CWORD-2]}}"
  fi
  setting="${{previous#--}}"
  setting="${{setting//-/_}}"
  if [[ COMP_CWORD -eq 1 ]]; then
    words="{commands}"
    if [[ $current != -* && $current == *-* ]]; then words="${{words//_/-}}"; fi
  elif [[ $current == -* ]]; then
    case "$command" in
{settings}
    esac
    # Hyphens and underscores are interchangeable.
    if [[ "${{current#--}}" == *-* ]]; then words="--${{words//_/-}}"; words="${{words/#----/--}}"; fi
  elif [[ $previous == --* ]]; then
    case "$command $setting" in
{choices}
      "--print-completion "*) words="{shells}" ;;
    esac
    if [[ $previous == "--print-completion" ]]; then words="{shells}"; fi
  else
    case "$command" in
{positional}
    esac
  fi
  # A list of names is completed after its last comma.
  if [[ $current == *,* ]]; then prefix="${{current%,*}},"; fi
  COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "${{current#"$prefix"}}"))
}}
complete -o default -F _encloze encloze
"""


def _bash_script(words: dict[str, CommandWords], *, is_zsh: bool) -> str:
    """Return the completion script for bash or, if ``is_zsh``, for zsh, which can emulate bash completion."""
    settings, choices, positional = [], [], []
    for command, of_command in words.items():
        names = " ".join(f"--{name}" for name in (*of_command.settings, *_OPTIONS))
        settings.append(f'      {command}) words="{names}" ;;')
        if of_command.positional:
            positional.append(f'      {command}) words="{" ".join(of_command.positional)}" ;;')
        for values in dict.fromkeys(map(tuple, of_command.settings.values())):
            if values:
                keys = "|".join(f'"{command} {name}"' for name, own in of_command.settings.items() if own == [*values])
                choices.append(f'      {keys}) words="{" ".join(values)}" ;;')
    return _BASH.format(
        file="~/.zshrc" if is_zsh else "~/.bashrc",
        shell="zsh" if is_zsh else "bash",
        prelude="autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" * is_zsh,
        commands=" ".join([*words, *(f"--{option.replace('_', '-')}" for option in _GLOBAL_OPTIONS)]),
        settings="\n".join(settings),
        choices="\n".join(choices),
        positional="\n".join(positional),
        shells=" ".join(SHELLS),
    )


def _fish_script(words: dict[str, CommandWords]) -> str:
    lines = [
        "# Completion of encloze. To enable it, run:",
        "#   encloze --print-completion fish > ~/.config/fish/completions/encloze.fish",
        f"complete -c encloze -n __fish_use_subcommand -f -a '{' '.join(words)}'",
        f"complete -c encloze -n __fish_use_subcommand -l print-completion -x -a '{' '.join(SHELLS)}'",
        "complete -c encloze -n __fish_use_subcommand -l version",
        "complete -c encloze -l help",
    ]
    for command, of_command in words.items():
        condition = f"complete -c encloze -n '__fish_seen_subcommand_from {command}'"
        if of_command.positional:
            lines.append(f"{condition} -a '{' '.join(of_command.positional)}'")
        for name, values in of_command.settings.items():
            lines.append(f"{condition} -l {name} " + (f"-x -a '{' '.join(values)}'" if values else "-r"))
        lines += [f"{condition} -l {option.replace('_', '-')}" for option in _OPTIONS[1:]]
    return "\n".join(lines) + "\n"

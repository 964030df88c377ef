"""Decorator that locks the output folder of a command while the command runs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from encloze.errors import RecipeError
from encloze.storage.disk import exists
from encloze.storage.output_lock import lock_output

T = TypeVar("T")


def locks_output(run: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return the method ``run`` of a command, changed so that the setting ``output`` is locked meanwhile.

    A second run with the same output is refused before it does any work. The lock does not depend on what the command
    does with an output that exists; the command checks that itself.
    """

    @functools.wraps(run)
    def locked(command: Any) -> T:
        execution = getattr(command, "execution", None)
        if command.output is None or not (execution is None or execution.writes_output):
            return run(command)
        _check_inputs(command)
        with lock_output(command.output):
            return run(command)

    return locked


def _check_inputs(command: Any) -> None:
    """Raise RecipeError if the output is replaced, and is or contains an input, which would be deleted with it."""
    output = Path(command.output).resolve()
    if not getattr(command, "overwrite", False) or not output.is_dir():
        return
    for name, path in _paths(command):
        resolved = path.resolve()
        if name != "output" and (resolved == output or output in resolved.parents):
            message = (
                f"{command.output} is or contains {path} ({name}), which would be deleted. Choose another --output"
            )
            raise RecipeError("the recipe", [("output", message)])


def _paths(value: Any, name: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the files and folders that settings name, each with the setting."""
    if isinstance(value, (str, Path)):
        if str(value) and exists(Path(value)):
            yield name, Path(value)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _paths(getattr(value, field.name), f"{name}.{field.name}".lstrip("."))
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _paths(one, name)

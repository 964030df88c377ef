"""Decorator that locks the output folder of a command while the command runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from encloze.storage.output_lock import lock_output

T = TypeVar("T")


def locks_output(run: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return the method ``run`` of a command, changed so that the setting ``output`` is locked meanwhile.

    A second run with the same output is refused before it does any work. The lock does not depend on what the command
    does with an output that exists; the command checks that itself.
    """

    @functools.wraps(run)
    def locked(command: Any) -> T:
        if command.output is None:
            return run(command)
        with lock_output(command.output):
            return run(command)

    return locked

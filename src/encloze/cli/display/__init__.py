"""Display of a running command: progress while it works, then its result."""

from __future__ import annotations

from typing import Any

from encloze import progress
from encloze.cli.display.console import show
from encloze.cli.display.progress_bars import progress_display


def run(command: Any) -> int:
    """Run a command, display its progress and print its result.

    Returns:
        The exit code: 1 if the result has the attribute ``has_failed``, which is true; otherwise 0.
    """
    display = progress_display()
    with progress.use_listener(display):
        try:
            result = command.run()
        finally:
            display.close()
    show(result)
    return int(getattr(result, "has_failed", False))

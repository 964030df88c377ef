"""Display of a running command: progress while it works, then its result."""

from __future__ import annotations

from typing import Any

from encloze import progress
from encloze.cli.display.console import show
from encloze.cli.display.progress_bars import progress_display


def run(command: Any) -> None:
    """Run a command, display its progress and print its result."""
    display = progress_display()
    with progress.use_listener(display):
        try:
            result = command.run()
        finally:
            display.close()
    show(result)

"""The screen: progress while a verb works, and its result when it is done; nothing else draws."""

from __future__ import annotations

from typing import Any

from encloze import progress
from encloze.cli.display import looked, made, reports  # noqa: F401 - each teaches ``show`` its results
from encloze.cli.display.screen import show
from encloze.cli.display.work import suitable


def run(task: Any) -> None:
    """Run a task, show how it goes, and show what comes back."""
    screen = suitable()
    with progress.listening(screen):
        try:
            result = task.run()
        finally:
            screen.close()
    show(result)

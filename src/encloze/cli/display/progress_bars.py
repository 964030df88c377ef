"""Progress of a running command: bars on a terminal, occasional lines in a file or a pipe."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.progress import Task as Bar
from rich.text import Text

from encloze import progress
from encloze.cli.display.console import ERR
from encloze.escapes import visible

_LINE_INTERVAL = 10.0
"""Seconds between two lines about a task."""
_MIN_DURATION = 2.0
"""Minimum duration in seconds of a task whose end is reported."""


def progress_display() -> ProgressDisplay:
    """Return a display with progress bars if standard error is a terminal, else one that prints lines of text."""
    return _BarDisplay() if ERR.is_terminal else _LineDisplay()


class ProgressDisplay(progress.Listener):
    """Base class of displays. It prints the notes and warnings of a command to the standard error stream."""

    def note(self, text: str) -> None:
        ERR.print(visible(text))

    def warn(self, text: str) -> None:
        ERR.print(Text(visible(f"Warning: {text}"), style="yellow"))

    def close(self) -> None:
        """Stop the display after the command has ended."""


class _BarDisplay(ProgressDisplay):
    """Display with a progress bar for each running task."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), _StateColumn())
        self._progress = Progress(*columns, console=ERR, transient=True)
        self._bars: dict[progress.Task, Any] = {}

    def on_start(self, task: progress.Task) -> None:
        self._progress.start()
        self._bars[task] = self._progress.add_task(task.title, total=task.total, work=task, start_time=time.monotonic())

    def on_update(self, task: progress.Task) -> None:
        self._progress.update(self._bars[task], completed=task.completed)

    def on_finish(self, task: progress.Task) -> None:
        self._progress.remove_task(self._bars.pop(task))

    def close(self) -> None:
        self._progress.stop()


class _StateColumn(ProgressColumn):
    """Text next to a progress bar: the amount done, rate and remaining time of a task."""

    def render(self, task: Bar) -> Text:
        return Text(format_state(task.fields["work"], time.monotonic() - task.fields["start_time"]))


class _LineDisplay(ProgressDisplay):
    """Display that prints the state of a task every ten seconds, and when a task of two seconds or more ends."""

    def __init__(self) -> None:
        self._start_times: dict[progress.Task, float] = {}
        self._last_lines: dict[progress.Task, float] = {}
        self._printed: dict[progress.Task, tuple[float, dict[str, float]]] = {}

    def on_start(self, task: progress.Task) -> None:
        self._start_times[task] = self._last_lines[task] = time.monotonic()

    def on_update(self, task: progress.Task) -> None:
        if time.monotonic() - self._last_lines[task] >= _LINE_INTERVAL:
            self._print_line(task)

    def on_finish(self, task: progress.Task) -> None:
        is_printed = self._printed.pop(task, None) == (task.completed, task.metrics)
        if time.monotonic() - self._start_times[task] >= _MIN_DURATION and not is_printed:
            self._print_line(task)
        self._printed.pop(task, None)
        del self._start_times[task], self._last_lines[task]

    def _print_line(self, task: progress.Task) -> None:
        self._last_lines[task] = time.monotonic()
        self._printed[task] = (task.completed, dict(task.metrics))
        ERR.print(f"{task.title}: {format_state(task, time.monotonic() - self._start_times[task])}")


def format_state(task: progress.Task, seconds: float) -> str:
    """Return the state of a task in words: amount done, rate, remaining time, and its metrics.

    Args:
        task: The task.
        seconds: Seconds since the task started.
    """
    rate = (task.completed - task.initial) / seconds if seconds > 0 else 0.0
    total = f" of {task.total:,.0f}" if task.total else ""
    parts = [f"{task.completed:,.0f}{total} {task.unit}".rstrip()]
    if rate:
        parts.append(_format_rate(rate))
        if task.total and task.completed < task.total:
            parts.append(f"{format_duration((task.total - task.completed) / rate)} left")
        elif seconds >= 1:
            parts.append(f"in {format_duration(seconds)}")
    return ", ".join(parts + [f"{name} {value:.4g}" for name, value in task.metrics.items()])


def _format_rate(rate: float) -> str:
    """Return a rate per second; below 1 per second, the seconds that each unit takes."""
    if rate < 1:
        return f"{1 / rate:,.1f} s each"
    return f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s"


def format_duration(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds (``1:02:03``), or minutes and seconds (``2:03``)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Progress while a verb works: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.progress import Task as Bar
from rich.text import Text

from encloze import progress
from encloze.cli.display.screen import ERR

_EVERY = 10.0  # seconds between lines where the screen is a file


def suitable() -> Screen:
    """The screen that suits where progress goes to."""
    return _Live() if ERR.is_terminal else _Lines()


class Screen(progress.Listener):
    """What both kinds of screen do with notes and warnings."""

    def note(self, text: str) -> None:
        ERR.print(text, markup=False)

    def warn(self, text: str) -> None:
        ERR.print(Text(f"Warning: {text}", style="yellow"))

    def close(self) -> None:
        """The verb is done."""


class _Live(Screen):
    """A terminal: a bar for each task that runs."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _State())
        self._progress = Progress(*columns, console=ERR, transient=True)
        self._bars: dict[progress.Task, Any] = {}

    def started(self, task: progress.Task) -> None:
        self._progress.start()
        self._bars[task] = self._progress.add_task(task.title, total=task.total, work=task, began=time.monotonic())

    def changed(self, task: progress.Task) -> None:
        self._progress.update(self._bars[task], completed=task.done)

    def finished(self, task: progress.Task) -> None:
        self._progress.remove_task(self._bars.pop(task))

    def close(self) -> None:
        self._progress.stop()


class _State(ProgressColumn):
    """How far a bar is, how fast, and how long it will take."""

    def render(self, task: Bar) -> Text:
        return Text(state(task.fields["work"], time.monotonic() - task.fields["began"]))


class _Lines(Screen):
    """A file or a pipe: a line now and then, and one at the end of what took long."""

    def __init__(self) -> None:
        self._began: dict[progress.Task, float] = {}
        self._said: dict[progress.Task, float] = {}

    def started(self, task: progress.Task) -> None:
        self._began[task] = self._said[task] = time.monotonic()

    def changed(self, task: progress.Task) -> None:
        if time.monotonic() - self._said[task] >= _EVERY:
            self._say(task)

    def finished(self, task: progress.Task) -> None:
        if time.monotonic() - self._began[task] >= 2:
            self._say(task)
        del self._began[task], self._said[task]

    def _say(self, task: progress.Task) -> None:
        self._said[task] = time.monotonic()
        ERR.print(f"{task.title}: {state(task, time.monotonic() - self._began[task])}", markup=False)


def state(task: progress.Task, seconds: float) -> str:
    """A task's state in words: done of total, rate, time left, figures."""
    rate = (task.done - task.before) / seconds if seconds > 0 else 0.0
    of = f" of {task.total:,.0f}" if task.total else ""
    parts = [f"{task.done:,.0f}{of} {task.unit}".rstrip()]
    if rate:
        parts.append(f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s")
        if task.total and task.done < task.total:
            parts.append(f"{clock((task.total - task.done) / rate)} left")
        elif seconds >= 1:
            parts.append(f"in {clock(seconds)}")
    return ", ".join(parts + [f"{name} {value:.4g}" for name, value in task.figures.items()])


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

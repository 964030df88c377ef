"""Progress reports: long-running tasks with rate and remaining time, notes, and warnings.

Functions call ``task``, ``track``, ``note`` and ``warn``. A listener, such as the progress bars of the command line,
receives the reports. Without a listener, as in a script or a notebook, reports go to the logger ``encloze`` of the
module ``logging``: notes with the level INFO, warnings with WARNING, start and end of tasks with DEBUG. Warnings also
go to the module ``warnings``, so a notebook shows them. ``logging.basicConfig(level=logging.INFO)`` shows the notes.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from encloze.escapes import visible

if TYPE_CHECKING:
    import logging

T = TypeVar("T")


class Task:
    """A long-running task whose progress is reported.

    Args:
        title: Description of the task, such as ``"Encoding documents"``.
        total: Number of units; None if unknown.
        unit: Name of a unit in plural, such as ``"documents"``.
        completed: Units completed before an interruption; the displayed rate excludes them.
    """

    def __init__(self, title: str, total: float | None, unit: str, completed: float = 0.0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.initial = self.completed = completed
        self.metrics: dict[str, float] = {}
        """Values to show next to the progress bar, such as losses."""

    def advance(self, by: float = 1, **metrics: float) -> None:
        """Add ``by`` completed units, and set the metrics shown next to the progress bar."""
        self.completed += by
        self.metrics.update(metrics)
        _listener.get().on_update(self)


class Listener:
    """Base class of listeners, which receive progress reports. This class writes the reports to the logger ``encloze``.

    Example:
        >>> class Printer(Listener):
        ...     def note(self, text):
        ...         print(text)
        >>> with use_listener(Printer()):
        ...     note("Loaded 3 documents")
        Loaded 3 documents
    """

    def on_start(self, task: Task) -> None:
        """Called when a task starts."""
        total = "" if task.total is None else f": {task.total:,.0f} {task.unit}".rstrip()
        _logger().debug("%s%s", task.title, total)

    def on_update(self, task: Task) -> None:
        """Called when a task advances. It must be fast, because it is called often."""

    def on_finish(self, task: Task) -> None:
        """Called when a task ends, successfully or not."""
        _logger().debug("%s: ended after %s", task.title, f"{task.completed:,.0f} {task.unit}".rstrip())

    def note(self, text: str) -> None:
        """Called for information that may be of interest to the user."""
        _logger().info(visible(text))

    def warn(self, text: str) -> None:
        """Called for a warning that the user should act on."""
        text = visible(text)
        _logger().warning(text)
        warnings.warn(text, UserWarning, stacklevel=3)


class SilentListener(Listener):
    """Listener that drops all reports, for steps whose reports would mean nothing to the user."""

    def note(self, text: str) -> None:
        """Drop a note."""

    def warn(self, text: str) -> None:
        """Drop a warning."""


@functools.cache
def _logger() -> logging.Logger:
    """Return the logger ``encloze``. Its ``NullHandler`` prevents ``logging`` from printing warnings a second time."""
    import logging

    logger = logging.getLogger("encloze")
    logger.addHandler(logging.NullHandler())
    return logger


_listener: contextvars.ContextVar[Listener] = contextvars.ContextVar("listener", default=Listener())  # noqa: B039


@contextlib.contextmanager
def use_listener(listener: Listener) -> Iterator[Listener]:
    """Send all progress reports from inside the ``with`` block to ``listener``."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def task(title: str, total: float | None = None, unit: str = "", completed: float = 0.0) -> Iterator[Task]:
    """Report the progress of a long-running task, which is performed inside the ``with`` block.

    Args:
        title: Description of the task.
        total: Number of units; None if unknown.
        unit: Name of a unit in plural.
        completed: Units completed before an interruption; the displayed rate excludes them.

    Yields:
        The task, whose method ``advance`` reports completed units.

    Example:
        >>> with task("Encoding", 1000, "documents") as bar:
        ...     bar.advance(32)
    """
    started = Task(title, total, unit, completed)
    listener = _listener.get()
    listener.on_start(started)
    try:
        yield started
    finally:
        listener.on_finish(started)


def track(items: Iterable[T], title: str, total: float | None = None, unit: str = "") -> Iterator[T]:
    """Yield the items, and report a task that advances by one unit with each item.

    Example:
        >>> [number for number in track(range(2), "Counting", 2, "numbers")]
        [0, 1]
    """
    with task(title, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()


def note(text: str) -> None:
    """Report information that may be of interest to the user."""
    _listener.get().note(text)


def warn(text: str) -> None:
    """Report a warning that describes a problem and its remedy."""
    _listener.get().warn(text)

"""What long work reports about itself: tasks with a rate and a time left, notes, warnings.

Work calls ``task``, ``note`` and ``warn``; whoever wants to see it listens. Without a listener notes are silent and
warnings go to Python's ``warnings``, so a notebook sees them too.
"""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Task:
    """One piece of long work: ``done`` of ``total`` units; ``figures`` are shown beside the bar."""

    def __init__(self, title: str, total: float | None, unit: str, done: float = 0.0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.before = self.done = done  # what an earlier run did does not count for the rate
        self.figures: dict[str, float] = {}

    def advance(self, by: float = 1, **figures: float) -> None:
        self.done += by
        self.figures.update(figures)
        _listener.get().changed(self)


class Listener:
    """Base of whatever listens; this one is silent about tasks and notes."""

    def started(self, task: Task) -> None:
        """A task began."""

    def changed(self, task: Task) -> None:
        """A task went on; called often, so be quick."""

    def finished(self, task: Task) -> None:
        """A task ended, well or not."""

    def note(self, text: str) -> None:
        """Something a user may like to know."""

    def warn(self, text: str) -> None:
        """Something a user should know."""
        warnings.warn(text, UserWarning, stacklevel=3)


_listener: contextvars.ContextVar[Listener] = contextvars.ContextVar("listener", default=Listener())  # noqa: B039


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[Listener]:
    """Let ``listener`` hear everything reported inside the block."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def task(title: str, total: float | None = None, unit: str = "", done: float = 0.0) -> Iterator[Task]:
    """Report one piece of long work: ``with task("Encoding", 1000, "documents") as bar: bar.advance(32)``."""
    work = Task(title, total, unit, done)
    listener = _listener.get()
    listener.started(work)
    try:
        yield work
    finally:
        listener.finished(work)


def track(items: Iterable[T], title: str, total: float | None = None, unit: str = "") -> Iterator[T]:
    """The items, reported as they are taken."""
    with task(title, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()


def note(text: str) -> None:
    """Tell the listener something worth knowing."""
    _listener.get().note(text)


def warn(text: str) -> None:
    """Tell the listener something that should be known; each warning is one sentence and what to do."""
    _listener.get().warn(text)

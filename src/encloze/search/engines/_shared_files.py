"""Files of embedded engines, which can be opened only once: all collections of a process share what was opened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedFiles(Generic[T]):
    """What was opened for each path, and by how many users.

    Example:
        >>> files = SharedFiles(open=lambda path: [path], close=lambda opened: opened.clear())
        >>> files.acquire("a") is files.acquire("a")
        True
    """

    def __init__(self, open: Callable[[str], T], close: Callable[[T], None]) -> None:  # noqa: A002 - as of files
        """Create an empty registry.

        Args:
            open: Function that opens a path.
            close: Function that closes what was opened, when its last user releases it.
        """
        self._open, self._close, self._lock = open, close, threading.Lock()
        self._opened, self._users = dict[str, T](), dict[str, int]()

    def acquire(self, path: str) -> T:
        """Return what is open for a path, and open it for the first user."""
        with self._lock:
            if path not in self._opened:
                self._opened[path] = self._open(path)
            self._users[path] = self._users.get(path, 0) + 1
            return self._opened[path]

    def release(self, path: str) -> None:
        """Count one user less. Close the path after the last one, so that it can be moved or opened elsewhere."""
        with self._lock:
            self._users[path] -= 1
            if not self._users[path]:
                del self._users[path]
                self._close(self._opened.pop(path))

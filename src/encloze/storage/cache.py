"""The cache folder, and temporary folders inside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from encloze.storage.locks import hold, remove_abandoned


def cache_folder() -> Path:
    """Where encloze keeps what it can make again: ``ENCLOZE_CACHE``, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("ENCLOZE_CACHE") or Path(home) / "encloze")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for as long as the block runs, beside the cache: where a machine keeps /tmp in memory, it fills that.

    Those of processes that were killed are removed: each is locked as long as its process lives.
    """
    remove_abandoned(cache_folder().glob("working-*"))
    with tempfile.TemporaryDirectory(prefix="working-", dir=cache_folder()) as folder, hold(Path(folder)):
        yield Path(folder)

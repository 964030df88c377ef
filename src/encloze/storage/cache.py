"""The cache folder, and temporary folders inside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from encloze.storage.locks import hold, remove_abandoned


def cache_folder() -> Path:
    """Return the cache folder: environment variable ``ENCLOZE_CACHE``, or ``encloze`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("ENCLOZE_CACHE") or Path(home) / "encloze")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder that is removed when the block ends.

    The folder is inside the cache folder, because ``/tmp`` may be in memory. Temporary folders of processes that were
    killed are removed first; a temporary folder is locked while its process runs.
    """
    remove_abandoned(cache_folder().glob("working-*"))
    with tempfile.TemporaryDirectory(prefix="working-", dir=cache_folder()) as folder, hold(Path(folder)):
        yield Path(folder)

"""The function of the command that serves indexes and models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encloze.api._commands import run_command


def serve(index: str | Path | Sequence[str | Path] = (), **settings: Any) -> None:
    """Serve indexes and models over HTTP until the process gets SIGINT or SIGTERM.

    Args:
        index: One index folder or several.
        **settings: Settings of ``encloze serve``, such as ``port``, ``model`` and ``reranker``.

    Raises:
        RecipeError: A setting is invalid, or the address cannot be used.
        CheckpointError: An index or a model is damaged.

    Example:
        >>> encloze.serve("my_index", port=8080)
    """
    folders = [index] if isinstance(index, (str, Path)) else list(index)
    run_command("serve", index=folders, **settings)

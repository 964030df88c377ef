"""Helpers of the Python API: run a command of encloze with the arguments of an API function as its settings."""

from __future__ import annotations

from typing import Any

from encloze.commands.base import Command
from encloze.storage.cache import cache_folder
from encloze.storage.hashes import hash_of


def run_command(command: str, **settings: Any) -> Any:
    """Create the command named ``command`` with the given settings, run it and return its result."""
    return Command.member(command)(**settings).run()


def run_cached(command: str, output: Any, settings: dict[str, Any]) -> Any:
    """Run a command that writes its result to the folder ``output``.

    If ``output`` is None, the result is written to a folder in the cache, named after a hash of the command's settings.
    """
    if output is None:
        folder = cache_folder() / command
        prepared = Command.member(command)(**{**settings, "output": folder})
        folder.mkdir(exist_ok=True)
        output = folder / hash_of(prepared)[:32]
        settings = {**settings, "overwrite": True}
    return run_command(command, output=output, **settings)

"""Run commands with the arguments of Python functions."""

from __future__ import annotations

from typing import Any

from encloze.commands.base import Command
from encloze.storage.cache import cache_folder
from encloze.storage.hashes import hash_of


def run_command(command: str, **settings: Any) -> Any:
    """Build a command from its settings and run it."""
    return Command.member(command)(**settings).run()


def run_cached(command: str, output: Any, settings: dict[str, Any]) -> Any:
    """Run a command. Without an output, write to a folder in the cache that is named by a hash of the settings."""
    if output is None:
        folder = cache_folder() / command
        prepared = Command.member(command)(**{**settings, "output": folder})
        folder.mkdir(exist_ok=True)
        output = folder / hash_of(prepared)[:32]
        settings = {**settings, "overwrite": True}
    return run_command(command, output=output, **settings)

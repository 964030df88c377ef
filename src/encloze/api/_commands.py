"""Run the command behind a function of the Python API, with the arguments of that function as its settings."""

from __future__ import annotations

from typing import Any

from encloze.commands.base import Command
from encloze.storage.cache import cache_folder
from encloze.storage.hashes import hash_of


def run_command(command: str, **settings: Any) -> Any:
    """Create the command named ``command`` with the given settings, run it and return its result."""
    return Command.member(command)(**settings).run()


def run_cached(command: str, output: Any, settings: dict[str, Any]) -> Any:
    """Run a command that writes to ``output``; if None, to a cache folder whose name is a hash of the settings."""
    if output is None:
        folder = cache_folder() / command
        prepared = Command.member(command)(**{**settings, "output": folder})
        folder.mkdir(exist_ok=True)
        output = folder / hash_of(prepared)[:32]
        settings = {**settings, "overwrite": True}
    return run_command(command, output=output, **settings)

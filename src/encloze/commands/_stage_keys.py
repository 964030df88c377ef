"""Hashes that identify pipeline stages by their settings and by the contents (not the paths) of their files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encloze.commands.base import Command
from encloze.settings import plain
from encloze.storage.hashes import hash_tree

_NO_INFLUENCE = ("output", "resume", "overwrite")  # settings that change no result
_MAX_PATH_LENGTH = 250


def references(value: Any) -> list[str]:
    """Return the names of the stages that settings refer to, by strings of the form ``@NAME`` or ``@NAME/FILE``."""
    return [text[1:].partition("/")[0] for text in _strings(value) if text.startswith("@")]


def values_of(value: Any, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the string values of all settings in ``value``, at any depth, whose name is one of ``names``."""
    if isinstance(value, dict):
        yield from (item for key, item in value.items() if key in names and isinstance(item, str))
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from values_of(item, names)


def result_key(stage: Command, dependencies: Mapping[str, str], output: Path, hashes: dict[Path, str]) -> str:
    """Return a hash of everything that can change the result of a stage; a finished stage with this hash is not rerun.

    Args:
        stage: The command with its settings.
        dependencies: The hashes that this function returned for the stages that the stage refers to, by stage name.
        output: Output folder of the pipeline. Paths inside it are hashed as relative paths.
        hashes: Hashes of file contents computed so far, by path. The function adds the hashes that it computes.
    """
    settings = {name: _portable(value, output, hashes) for name, value in _fields(stage) if name not in _NO_INFLUENCE}
    content = json.dumps([stage.name, settings, dict(dependencies)], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def path_key(stage: Command) -> str:
    """Return a hash of all settings of a stage, including paths.

    The unfinished work of a stage is resumed only if this hash is the same as when the stage was started.
    """
    return hashlib.sha256(json.dumps(plain(stage), sort_keys=True).encode()).hexdigest()[:16]


def _strings(value: Any) -> list[str]:
    """Return all values of settings that are strings, including those of nested settings."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def _portable(value: Any, output: Path, hashes: dict[Path, str]) -> Any:
    """Convert a setting to JSON values: paths inside ``output`` to relative paths, other paths to content hashes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings = {name: _portable(item, output, hashes) for name, item in _fields(value)}
        return {"type": getattr(value, "name", type(value).__name__), **settings}
    if isinstance(value, dict):
        return {key: _portable(item, output, hashes) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(item, output, hashes) for item in value]
    prefix = f"{output.resolve()}/"
    if isinstance(value, (Path, str)) and str(value).startswith(prefix):  # whether or not it exists already
        return f"@{str(value).removeprefix(prefix)}"
    path = value if isinstance(value, Path) else _as_model_folder(value)
    if path is None:
        return value
    if not path.exists():
        return str(path)
    if path not in hashes:
        hashes[path] = hash_tree(path)
    return hashes[path]


def _fields(settings: Any) -> list[tuple[str, Any]]:
    return [(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)]


def _as_model_folder(value: Any) -> Path | None:
    """Return ``value`` as a path if it is a string that names a model folder, else None."""
    if not isinstance(value, str) or not value or len(value) > _MAX_PATH_LENGTH or "\n" in value:
        return None
    return Path(value) if (Path(value) / "config.json").is_file() else None

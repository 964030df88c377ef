"""Reading and writing of JSON files, with uniform error handling."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError


def read_json(file: Path) -> Any:
    """Read a JSON file that encloze wrote. Raises CheckpointError if it is missing or damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file.parent} has no {file.name}: the folder was not written by encloze, or is damaged. Name another "
            "folder, or restore the file"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: it is not valid JSON ({error}). Restore the file") from error


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file. Infinity and NaN, which JSON does not have, become null."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False)
    file.write_text(f"{text}\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Reading and writing of JSON, with uniform error handling."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from encloze.errors import CheckpointError
from encloze.storage.json_shapes import shape_fault

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class LogEntry(TypedDict):
    """Line of a training log. Its other keys are the names of logged values."""

    step: int


def parse_json(text: str | bytes, *, allow_surrogates: bool = False) -> Any:
    """Return the value of a JSON text.

    Unlike ``json.loads``, this function raises one type of error for everything that can be wrong.

    Args:
        text: The text, or its bytes in UTF-8.
        allow_surrogates: Whether unpaired surrogates are accepted. A server that cuts a text may cut a pair.

    Raises:
        ValueError: The text is not valid JSON in UTF-8, is nested too deeply, or contains an integer of more than 4,300
            digits or an unpaired surrogate. The message is one line without the text itself.

    Example:
        >>> parse_json('{"id": 1}')
        {'id': 1}
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"{error.msg} at {line}column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text ({error.reason})") from error
    except RecursionError as error:
        raise ValueError("too many nested brackets") from error
    except ValueError as error:  # the limit of Python, which keeps a long integer from taking minutes
        raise ValueError("an integer with more than 4,300 digits") from error
    if not allow_surrogates and _SURROGATE.search(text) and not _is_encodable(value):
        raise ValueError(r"unpaired surrogate (\ud800 to \udfff)")
    return value


def read_json(file: Path, shape: Any = dict[str, Any]) -> Any:
    """Read a JSON file of a folder that encloze or another library wrote.

    Args:
        file: The file.
        shape: Type of the content, such as ``list[str]`` or a ``TypedDict``; see ``json_shapes``. By default any JSON
            object.

    Raises:
        CheckpointError: The file is missing, unreadable, not JSON, or its content has another type.
    """
    try:
        value = parse_json(file.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file.parent} has no {file.name}: the folder was not written by encloze, or is damaged. Name another "
            "folder, or restore the file"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}. Make it readable, or restore it") from error
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: it is not valid JSON ({error}). Restore the file") from error
    if fault := shape_fault(value, shape):
        raise CheckpointError(f"{file} is damaged: {fault}. Restore the file")
    return value


def read_json_log(file: Path, shape: Any = dict[str, Any]) -> Iterator[Any]:
    """Read a JSON Lines file that grows while a command runs. An incomplete last line, of a killed run, is left out.

    Args:
        file: The file.
        shape: Type of each line's value.

    Yields:
        The value of each line; none if the file does not exist.

    Raises:
        CheckpointError: A line is not JSON, or its value has another type.
    """
    if not file.exists():
        return
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    value = parse_json(line)
                except ValueError as error:
                    if not line.endswith(b"\n"):
                        return
                    raise CheckpointError(
                        f"{file} is damaged: line {number} is not valid JSON ({error}). Restore the file"
                    ) from error
                if fault := shape_fault(value, shape):
                    raise CheckpointError(f"{file} is damaged: line {number}: {fault}. Restore the file")
                yield value
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}. Make it readable, or restore it") from error


@contextmanager
def explain_damage(file: Path) -> Iterator[None]:
    """Raise CheckpointError if the ``with`` block fails because a file of a result has other content than expected.

    For contents that are checked while they are converted, such as tables of numbers.

    Args:
        file: The file or folder that the block reads.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{file} is damaged ({reason:.200}). Restore it, or run the command that wrote it again"
        ) from error


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


def _is_encodable(value: Any) -> bool:
    """Return whether all strings of a JSON value can be encoded as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True

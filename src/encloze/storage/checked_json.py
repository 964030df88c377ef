"""JSON objects and lines that contain a checksum of themselves, so that every change of a file is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError
from encloze.storage.hashes import checksum_of
from encloze.storage.json_files import parse_json, read_json, write_json
from encloze.storage.json_shapes import shape_fault

_VERSION, _CHECKSUM, _VALUE = "encloze", "xxh3_128", "value"
_FORMAT_VERSION = 1


def write_checked_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum. The file is replaced atomically."""
    staging = file.with_name(f".{file.name}")
    write_json(staging, value)
    content = read_json(staging)  # lists for tuples, null for NaN
    write_json(staging, {**content, _VERSION: _FORMAT_VERSION, _CHECKSUM: _checksum(content)})
    staging.replace(file)


def read_checked_json(file: Path, shape: Any = dict[str, Any]) -> dict[str, Any]:
    """Return the object in a file that ``write_checked_json`` wrote.

    A file of an earlier version, which has no checksum, is read without a comparison of checksums.

    Args:
        file: The file.
        shape: Type of the object; see ``read_json``.

    Raises:
        CheckpointError: The file is missing, has changed since it was written, or its content has another type.
    """
    value: dict[str, Any] = read_json(file)
    if is_checked(value):
        version, checksum = value.pop(_VERSION, None), value.pop(_CHECKSUM, None)
        if version != _FORMAT_VERSION or checksum != _checksum(value):
            raise CheckpointError(f"{file} is damaged: its checksum differs from its content. Restore the file")
    if fault := shape_fault(value, shape):
        raise CheckpointError(f"{file} is damaged: {fault}. Restore the file")
    return value


def checked_line(value: Any) -> str:
    """Return a line of JSON that contains a value and its checksum, for ``read_checked_lines``."""
    text = json.dumps(value)
    return json.dumps({_VALUE: value, _CHECKSUM: checksum_of(text)}) + "\n"


def read_checked_lines(file: Path) -> list[Any]:
    """Return the values of lines that ``checked_line`` made, or that earlier versions wrote without checksums.

    Raises:
        CheckpointError: A line has changed since it was written.
    """
    values = []
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], 1):
        try:
            value = parse_json(line)
            if isinstance(value, dict):
                checksum, value = value[_CHECKSUM], value[_VALUE]
                if checksum != checksum_of(json.dumps(value)):
                    raise ValueError("its checksum differs from its content")
        except (KeyError, ValueError) as error:
            message = f"{file} is damaged: line {number}: {error}. Restore the file, or start over with --overwrite"
            raise CheckpointError(message) from error
        values.append(value)
    return values


def is_checked_file(file: Path) -> bool:
    """Return whether a JSON file contains a checksum, or is damaged so that it is not JSON any more."""
    try:
        return is_checked(read_json(file, Any))
    except CheckpointError:
        return file.is_file()


def is_checked(value: Any) -> bool:
    """Return whether a JSON value is an object with a checksum, even if it is damaged in one place."""
    return isinstance(value, dict) and (_VERSION in value or _CHECKSUM in value)


def _checksum(value: Mapping[str, Any]) -> str:
    return checksum_of(json.dumps(value, sort_keys=True))

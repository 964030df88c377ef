"""Line-by-line reading of plain or gzipped text files. Errors are collected with their file and line number."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from encloze.errors import DataError
from encloze.storage.json_files import parse_json

MAX_SHOWN = 20
_INTEGER = re.compile("[+-]?[0-9]{1,18}")
SEPARATORS = "Separate all columns by tabs, or all by blanks"
MAX_LINE_BYTES = 2**26
"""A line is read into memory as a whole. A gzipped file of 1 MiB can contain a line of 1 GiB."""


class ErrorCollector:
    """Collector of errors in input files. It counts all errors and keeps the messages of the first 20.

    Example:
        >>> errors = ErrorCollector()
        >>> errors.add("corpus.jsonl:17", "the text is empty")
        >>> errors.count
        1
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        """Messages of the first 20 errors, each with its location."""
        self.count = 0
        """Number of all recorded errors."""
        self.location: str | None = None
        """Location of the line that was read last, for errors that are detected after parsing, such as duplicate
        ids."""

    def add(self, location: str, message: str) -> None:
        """Record an error in an input file.

        Args:
            location: File and line, such as ``corpus.jsonl:17``.
            message: Description of the error.
        """
        self.count += 1
        if len(self.messages) < MAX_SHOWN:
            self.messages.append(f"{location}: {message}")

    def check_id(self, kind: str, id_: str, location: str) -> None:
        """Record an error if an id contains a tab or a line break, the separators of run files.

        Args:
            kind: Kind of the object, such as ``document``.
            id_: The id to check.
            location: Location for the error message, such as ``documents[3]``, if no line of a file is being read;
                otherwise the message names that line.
        """
        if "\t" in id_ or (id_ and id_.splitlines() != [id_]):
            self.add(self.location or location, f"the {kind} id {id_!r} contains a tab or a line break. Remove it")

    def raise_if_any(self) -> None:
        """Raise one DataError that lists the recorded errors. Do nothing if no error was recorded.

        Raises:
            DataError: At least one error was recorded.
        """
        if self.count:
            hidden = f"\n  ... and {self.count - len(self.messages)} more" * (self.count > len(self.messages))
            raise DataError("\n  ".join([f"{self.count} error{'s' * (self.count > 1)}:", *self.messages]) + hidden)


def open_binary(file: Path) -> IO[bytes]:
    """Open a file, plain or gzipped, for reading bytes."""
    return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Read the non-blank lines of a text file.

    Args:
        file: UTF-8 text file, plain or gzipped (``.gz``).

    Yields:
        The location of each line (``corpus.jsonl:17``) and the line without its line break.

    Raises:
        DataError: The file cannot be read or is not UTF-8 text.
    """
    return ((location, line) for location, line in read_all_lines(file) if line.strip())


def read_all_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Read all lines of a text file, including blank ones. Otherwise the same as ``read_lines``."""
    number, name = 0, file.name
    try:
        with open_binary(file) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{file}:{number}: the line is longer than {MAX_LINE_BYTES // 2**20} MiB. Divide the document, "
                        "or check the format of the file"
                    )
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                yield f"{name}:{number}", text
    except UnicodeDecodeError as error:
        raise DataError(f"{file}:{number}: not UTF-8 text ({error.reason}). Convert the file to UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}:{number + 1}: corrupt gzip data ({error}). Download the file again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error


def read_json_lines(file: Path, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the JSON objects of a JSON Lines file.

    Args:
        file: File with one JSON object per line, plain or gzipped.
        errors: Receives an error for each line that is not a JSON object.

    Yields:
        The location of each line (``corpus.jsonl:17``) and its JSON object, as a dictionary.
    """
    for location, line in read_lines(file):
        try:
            value = parse_json(line)
        except ValueError as error:
            errors.add(location, f"invalid JSON: {error}")
            continue
        if isinstance(value, dict):
            errors.location = location
            yield location, value
        else:
            errors.add(location, f"expected a JSON object, found {type(value).__name__}")


def required_text(
    row: dict[str, Any], names: Sequence[str], location: str, errors: ErrorCollector, hint: str = ""
) -> str | None:
    """Return the text of the first field in ``names`` that a row contains.

    Args:
        row: Values of the row by field name.
        names: Names of alternative fields, in the order in which they are tried.
        location: Location of the row for error messages, such as ``corpus.jsonl:17``.
        errors: Receives an error if the row contains none of the fields, or if the first one that is not null is
            neither text nor an integer.
        hint: Sentence to append to the error for a missing field.

    Returns:
        The text, or None after an error.
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            errors.add(location, f'"{name}" must be text, found {type(value).__name__}')
            return None
    if empty := next((name for name in names if name in row), None):
        errors.add(location, f'"{empty}" is null, expected text. Give a text, or remove the row')
        return None
    present = ", ".join(f'"{name}"' for name in row) or "none"
    expected = " or ".join(f'"{name}"' for name in names)
    errors.add(location, f"missing field {expected} (fields: {present}).{hint}")
    return None


def optional_text(row: dict[str, Any], name: str, location: str, errors: ErrorCollector) -> str | None:
    """Return a field as text; None if it is missing. Record an error if it is neither text nor an integer."""
    return None if row.get(name) is None else required_text(row, (name,), location, errors)


def optional_integer(row: dict[str, Any], name: str, location: str, errors: ErrorCollector) -> int | None:
    """Return the 64-bit integer in a field, also if it is written as text; None if the field is missing or empty.

    Record an error for any other value.
    """
    value = row.get(name)
    if value is None or value == "":
        return None
    number = int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value
    if isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**63:
        return number
    errors.add(location, f'"{name}" must be a 64-bit integer, found {value!r}')
    return None


def split_columns(line: str) -> list[str]:
    """Split a line at its tabs or, if it contains none, at its blanks. Other white space does not separate columns.

    Example:
        >>> split_columns("my query\\tmy document\\t1"), split_columns(" q 0  d\\u00a0e 1")
        (['my query', 'my document', '1'], ['q', '0', 'd\\xa0e', '1'])
    """
    return line.split("\t") if "\t" in line else [column for column in line.split(" ") if column]


def find_file(folder: Path, *names: str) -> Path | None:
    """Return the path of the first of several files that exists in a folder; None if none of them exists.

    Each name is tried as it is and with ``.gz`` appended.

    Raises:
        DataError: A file exists both plain and gzipped.
    """
    for name in names:
        files = [file for file in (folder / name, folder / f"{name}.gz") if file.is_file()]
        if len(files) > 1:
            raise DataError(f"{folder} contains both {name} and {name}.gz. Remove one of them")
        if files:
            return files[0]
    return None


def names_between(folder: Path, prefix: str, suffix: str) -> list[str]:
    """Return the parts between prefix and suffix of the names of a folder's files, plain or gzipped, sorted.

    Example:
        >>> names_between(Path("marco"), "qrels.", ".tsv")  # doctest: +SKIP
        ['dev', 'dev.small', 'train']
    """
    names = {file.name.removesuffix(".gz") for file in folder.glob("*") if file.is_file()} if folder.is_dir() else set()
    found = (name for name in names if name.startswith(prefix) and name.endswith(suffix))
    return sorted(name[len(prefix) : -len(suffix)] for name in found if len(name) >= len(prefix) + len(suffix))


def uncompressed_suffix(file: Path) -> str:
    """Return the suffix of a file name without a final ``.gz``: ``.tsv`` for ``corpus.tsv.gz``."""
    return (Path(file.stem) if file.suffix == ".gz" else file).suffix

"""Read text files line by line, plain or gzipped, and collect what is wrong with them by file and line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from encloze.errors import DataError

SHOWN = 20
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Faults:
    """What is wrong with files, by line; the first ``SHOWN`` are shown and the others counted."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.count = 0
        self.here: str | None = None
        """The line that is being read, for faults that only whoever puts lines together can see."""

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{where}: {what}")

    def check_id(self, kind: str, id_: str, where: str) -> None:
        """Runs and tables hold a thing a line, between tabs: an id that breaks one could not be read again."""
        if "\t" in id_ or (id_ and id_.splitlines() != [id_]):
            self.add(self.here or where, f"the {kind}'s id {id_!r} holds a tab or the end of a line. Give it another")

    def stop(self) -> None:
        """Raise one DataError with everything that was found; do nothing if all is well."""
        if self.count:
            more = f"\n  ... and {self.count - len(self.shown)} more" * (self.count > len(self.shown))
            raise DataError("\n  ".join([f"{self.count} fault{'s' * (self.count > 1)}:", *self.shown]) + more)


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, with its place (``corpus.jsonl:17``); raise DataError where it is no text."""
    return ((where, line) for where, line in every_line(file) if line.strip())


def every_line(file: Path) -> Iterator[tuple[str, str]]:
    """As ``lines``, with the blank ones."""
    number = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                yield f"{file.name}:{number}", text
    except UnicodeDecodeError as error:
        raise DataError(f"{file}:{number}: not UTF-8 text ({error.reason}). Convert the file to UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}:{number + 1}: the gzip data is broken ({error}). Fetch the file again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error


def json_objects(file: Path, faults: Faults) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's JSON object with its place; what is not one becomes a fault."""
    for where, line in lines(file):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            faults.add(where, f"no JSON: {error.msg} at column {error.colno}")
            continue
        except RecursionError:
            faults.add(where, "no JSON that can be read: brackets within brackets without end")
            continue
        if _SURROGATE.search(line) and not _is_text(value):
            faults.add(where, r"no text: half a character (\ud800 to \udfff alone)")
        elif isinstance(value, dict):
            faults.here = where
            yield where, value
        else:
            faults.add(where, f"a JSON object was expected, found {type(value).__name__}")


def _is_text(value: Any) -> bool:
    """Whether all of a JSON value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def field_of(value: dict[str, Any], names: Iterable[str], where: str, faults: Faults, remedy: str = "") -> str | None:
    """The first of the named fields as text; None, and a fault, where there is none."""
    for name in names:
        found = value.get(name)
        if isinstance(found, str):
            return found
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if found is not None:
            faults.add(where, f'"{name}" should be text, found {type(found).__name__}')
            return None
    has = ", ".join(f'"{name}"' for name in value) or "nothing"
    wanted = " or ".join(f'"{name}"' for name in names)
    faults.add(where, f"no {wanted} field (it has {has}).{remedy}")
    return None


def optional_text(value: dict[str, Any], name: str, where: str, faults: Faults) -> str | None:
    """A field that a line may lack, as text; a fault where it is something else."""
    return None if value.get(name) is None else field_of(value, (name,), where, faults)


def optional_integer(value: dict[str, Any], name: str, where: str, faults: Faults) -> int | None:
    """A field that a line may lack, as a whole number of 64 bits; a fault where it is something else."""
    found = value.get(name)
    if found is None or (isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63):
        return found
    faults.add(where, f'"{name}" should be a whole number, found {found!r}')
    return None


def columns(file: Path, least: int, faults: Faults, separator: str | None = "\t") -> Iterator[tuple[str, list[str]]]:
    """Each line's columns with its place; fewer than ``least`` become a fault."""
    for where, line in lines(file):
        # What has tabs enough is cut at them, so that ids may hold blanks.
        found = line.split("\t") if separator is None and line.count("\t") >= least - 1 else line.split(separator)
        if len(found) < least:
            kind = "tab-separated columns" if separator == "\t" else "columns"
            faults.add(where, f"{least} {kind} were expected, found {len(found)}")
        else:
            faults.here = where
            yield where, found


def integer(text: str, name: str, where: str, faults: Faults) -> int | None:
    try:
        return int(text)
    except ValueError:
        faults.add(where, f"the {name} should be a whole number, found {text!r}")
        return None


def present(folder: Path, *names: str) -> Path | None:
    """The first of the named files that ``folder`` holds, plain or with ``.gz`` added."""
    for name in names:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    return None


def bare_suffix(file: Path) -> str:
    """The ending of a file's name, below a ``.gz``."""
    return (Path(file.stem) if file.suffix == ".gz" else file).suffix

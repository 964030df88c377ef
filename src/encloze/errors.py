"""Errors that a user can act on: each says what is wrong, where, and what to do.

    EnclozeError
    ├── RecipeError         a recipe or a flag asks for something that does not exist or does not fit
    ├── DataError           a file of texts, queries, judgments or a run cannot be read as such
    ├── CheckpointError     a model folder is missing, unfinished, damaged or of another kind
    ├── StaleIndexError     an index does not belong to the model that asks it
    ├── EndpointError       a server that is asked for texts is not there, refuses, or answers something else
    ├── StorageError        a result cannot be written: the folder exists, the disk is full
    └── MissingExtraError   a package is not installed that an optional part of encloze needs

Catch ``EnclozeError`` to catch them all. The command line prints them without a traceback and exits with 2.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType


class EnclozeError(Exception):
    """Base of every error that encloze raises on purpose."""


class RecipeError(EnclozeError):
    """A recipe or a flag asks for something that does not exist or does not fit; ``faults`` lists all of it."""

    def __init__(self, source: str, faults: Sequence[tuple[str, str]]) -> None:
        self.source = source
        self.faults = list(faults)
        lines = "\n".join(f"  {path or '(whole)'}: {message}" for path, message in self.faults)
        super().__init__(f"{source} has {len(self.faults)} fault{'s' * (len(self.faults) > 1)}:\n{lines}")


class DataError(EnclozeError):
    """A file cannot be read as what it should be."""


class CheckpointError(EnclozeError):
    """A model folder is missing, unfinished, damaged or of another kind."""


class StaleIndexError(EnclozeError):
    """An index does not belong to the model that asks it."""


class EndpointError(EnclozeError):
    """A server that is asked for texts is not there, refuses, or answers something else."""


class StorageError(EnclozeError):
    """A result cannot be written."""


class MissingExtraError(EnclozeError):
    """A package is missing that an optional part of encloze needs."""


def importable(module: str, extra: str) -> ModuleType:
    """Import ``module``; where it is missing, say which extra of encloze brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there, and one of its own imports is not: that is another fault
        raise MissingExtraError(
            f"this needs the package {module!r}, which is not installed. Install it: pip install 'encloze[{extra}]'"
        ) from error

"""Exceptions. Each message describes the error, its location and its remedy.

    EnclozeError
    ├── RecipeError         a recipe, a command line or an argument is invalid
    ├── DataError           documents, queries, judgments or a run cannot be read
    ├── CheckpointError     a model folder is missing, incomplete, damaged or of another kind
    ├── StaleIndexError     an index was built with a different model
    ├── EndpointError       a server does not respond, rejects the request, or sends an unexpected response
    ├── ExecutionError      parts of a computation failed repeatedly
    ├── StorageError        a result cannot be written: the folder exists, the disk is full
    └── MissingExtraError   an optional package is not installed

Catch ``EnclozeError`` to catch them all. The command line prints them without a traceback and exits with code 2.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType


class EnclozeError(Exception):
    """Base class of all errors that a user can fix, such as invalid settings or missing files."""


class RecipeError(EnclozeError):
    """A recipe, a command line or an argument is invalid; ``faults`` lists all errors.

    Attributes:
        source: Where the invalid settings were given: name of a recipe or function, or ``the command line``.
        faults: One pair per error: name of the invalid setting (``training.learning_rate``) and error message.
    """

    def __init__(self, source: str, faults: Sequence[tuple[str, str]]) -> None:
        self.source = source
        self.faults = list(faults)
        lines = "\n".join(f"  {path or '(whole)'}: {message}" for path, message in self.faults)
        super().__init__(f"{source} has {len(self.faults)} error{'s' * (len(self.faults) > 1)}:\n{lines}")

    def __reduce__(self) -> tuple[type[RecipeError], tuple[str, list[tuple[str, str]]]]:
        """Return what ``pickle`` stores: processes send each other errors."""
        return type(self), (self.source, self.faults)


class DataError(EnclozeError):
    """Documents, queries, judgments or a run cannot be read."""


class CheckpointError(EnclozeError):
    """A model folder is missing, incomplete or damaged, or it contains another kind of model than required."""


class StaleIndexError(EnclozeError):
    """An index was built with a different model than the one used for searching."""


class EndpointError(EnclozeError):
    """A server does not respond, rejects a request, or sends an unexpected response."""


class ExecutionError(EnclozeError):
    """Parts of a computation failed repeatedly, such as batches for which the memory of a GPU is too small."""


class StorageError(EnclozeError):
    """A result cannot be written, for example because its folder exists or the disk is full."""


class MissingExtraError(EnclozeError):
    """An optional package is not installed."""


def importable(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: The module to import.
        extra: The extra (group of optional dependencies) of encloze that installs the package.

    Raises:
        MissingExtraError: The package is not installed. The message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is installed, but one of its own imports is missing
        raise missing_extra(module, extra) from error


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for a missing package. Its message names the extra of encloze that installs the package."""
    return MissingExtraError(
        f"this needs the package {package!r}, which is not installed. Install it: pip install 'encloze[{extra}]'"
    )

"""Worker: what computes shards in another process, with the errors and warnings that it sends back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from encloze import progress
from encloze.errors import EnclozeError, ExecutionError
from encloze.execution.jobs import Computation


class Outcome(NamedTuple):
    """What became of a shard that was sent to a worker."""

    result: Any = None
    """The result of the shard."""
    error: EnclozeError | str | None = None
    """Why there is none: what the computation raised, or why the worker died."""
    warnings: tuple[str, ...] = ()
    """Warnings of the computation."""
    has_died: bool = False
    """Whether the worker has died, and has to be started again."""


class Worker:
    """Computes shards in this process.

    Args:
        computation: What it computes. It is loaded for the first shard.
    """

    def __init__(self, computation: Computation[Any]) -> None:
        self._computation = computation
        self._compute: Callable[[Any], Any] | None = None

    def compute(self, item: Any) -> Outcome:
        """Return the outcome for the input of a shard. Errors are returned, not raised."""
        listener = _Warnings()
        with progress.use_listener(listener):
            try:
                result = (self._compute or self._load())(item)
            except EnclozeError as error:
                return Outcome(error=error, warnings=tuple(listener.warnings))
            except Exception as error:  # of the model, the tokenizer, the device
                return Outcome(error=f"{type(error).__name__}: {error}", warnings=tuple(listener.warnings))
        return Outcome(result, warnings=tuple(listener.warnings))

    def _load(self) -> Callable[[Any], Any]:
        try:
            self._compute = self._computation.load()
        except EnclozeError:
            raise
        except Exception as error:  # would occur for every shard
            raise ExecutionError(f"a worker cannot start: {type(error).__name__}: {error}") from error
        return self._compute


class _Warnings(progress.SilentListener):
    """Listener that collects warnings."""

    def __init__(self) -> None:
        self.warnings = list[str]()

    def warn(self, text: str) -> None:
        self.warnings.append(text)

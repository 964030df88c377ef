"""A task: a verb with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from encloze.family import Family

if TYPE_CHECKING:
    from encloze.evaluation.report import Report


@dataclass(frozen=True)
class Task(Family):
    """Something encloze can be asked to do."""

    words: ClassVar[tuple[str, ...]] = ()
    """Settings that may stand on the command line without their names, in this order."""

    def run(self) -> Any:
        """Do it; what comes back is data, which the command line shows."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class Trained:
    """A model folder that is done, and the verb that usually comes next."""

    folder: Path
    next_verb: str


@dataclass(frozen=True)
class Merged(Trained):
    """A model folder between two models: the share of the first, and how all of them did on the data sets."""

    weight: float
    reports: tuple[Report, ...]


@dataclass(frozen=True)
class Scored:
    """A folder with a run of scores that is done."""

    folder: Path
    queries: int
    pairs: int


@dataclass(frozen=True)
class Mined:
    """A folder with a run of negatives that is done."""

    folder: Path
    queries: int
    negatives: int
    dropped: dict[str, int]
    """How many candidates were left out, by reason."""
    without: int
    """Queries that no negative is left for."""


@dataclass(frozen=True)
class Generated:
    """A folder with generated queries that is done."""

    folder: Path
    documents: int
    """How many documents were written for."""
    queries: dict[str, int]
    """How many queries each split has."""
    dropped: dict[str, int]
    """How many texts were left out, by reason."""
    examples: tuple[tuple[str, str], ...]
    """A few of the queries, each with the beginning of the document that it was made from."""

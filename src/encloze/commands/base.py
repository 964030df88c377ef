"""A command: a verb with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from encloze.errors import RecipeError
from encloze.evaluation.significance import Interval
from encloze.family import Family, nearest

if TYPE_CHECKING:
    from encloze.evaluation.labels import LabelReport
    from encloze.evaluation.report import Report


@dataclass(frozen=True)
class Command(Family):
    """Base of every command of encloze."""

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
class TrainedClassifier:
    """A classifier's folder that is done, and how it did on each part that it was judged on."""

    folder: Path
    reports: tuple[LabelReport, ...]


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


class HowFarOff(NamedTuple):
    """How far probabilities are from what is relevant; 0 is best."""

    calibration_error: float
    brier: float


class Level(NamedTuple):
    """Pairs of this probability or more: the share of them that is relevant, and of all relevant ones that they are."""

    probability: float
    precision: float | None  # None where there are no such pairs
    recall: float


@dataclass(frozen=True)
class Calibrated:
    """A re-ranker with a curve from its scores to probabilities."""

    folder: Path
    pairs: int
    relevant: float
    """The share of the pairs that is relevant."""
    before: HowFarOff
    """Of the logistic function of the scores, which is often taken for a probability."""
    after: HowFarOff
    """Of the curve, on queries that it was not learnt from."""
    levels: list[Level]


@dataclass(frozen=True)
class Reported:
    """A page that is done, and how many results it tells of."""

    page: Path
    results: int
    cards: tuple[Path, ...] = ()
    """Model folders whose cards tell their figures now."""
    cards_asked: bool = False
    """Whether there should be some."""


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


@dataclass(frozen=True)
class StageSays:
    """What one stage brought: the difference in a report's first measure, query by query."""

    stage: str
    difference: Interval

    def verdict(self) -> str:
        if self.difference.low > 0:
            return "helped"
        if self.difference.high < 0:
            return "did harm"
        return "made no difference that these queries can show"


def command(name: str) -> type[Command]:
    """Return the command called ``name``. Raises RecipeError for an unknown name."""
    known = Command.members()
    if name not in known:
        raise RecipeError("the command line", [("", f"there is no verb {name!r}; {nearest(name, known)}")])
    return Command.member(name)

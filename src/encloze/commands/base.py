"""Base class of commands, and the results of commands that load torch.

A result class is defined in the file of its command if that file does not import torch. Otherwise it is defined here,
because the command line registers a renderer for each result class and must not import torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, cast

from encloze import recipe
from encloze.errors import RecipeError
from encloze.family import Family, nearest
from encloze.intervals import Interval
from encloze.settings import hints_of
from encloze.storage.disk import explain_file_errors

if TYPE_CHECKING:
    from encloze.evaluation.compression import CompressionReport
    from encloze.evaluation.estimates import Estimate
    from encloze.evaluation.labels import LabelReport
    from encloze.evaluation.report import Report
    from encloze.exports._report import ExportReport
    from encloze.reporting.verdicts import Verdict


class CommandType(type):
    """Metaclass of commands, which converts and checks the arguments of a command class as the command line does.

    ``recipe.build`` does not need the metaclass: it converts and checks the settings itself.
    """

    def __call__(cls, *arguments: Any, **settings: Any) -> Any:
        from encloze.commands._arguments import settings_of

        kind = cast("type[Command]", cls)
        names = list(hints_of(kind))
        if len(arguments) > len(names):
            message = f"{len(arguments)} arguments for {len(names)} settings. Give settings by name"
            raise RecipeError(kind.__name__, [("", message)])
        values = {**dict(zip(names, arguments, strict=False)), **settings}
        values = {name: list(value) if isinstance(value, Iterator) else value for name, value in values.items()}
        command = recipe.build(kind, settings_of(kind, values, kind.__name__), source=kind.__name__)
        # Settings name an index in memory by its folder, which is removed with its retriever.
        object.__setattr__(command, "_arguments", values)
        return command


@dataclass(frozen=True)
class Command(Family, metaclass=CommandType):
    """Base class of the commands of encloze. The fields of a command are its settings.

    The command line, recipes and the Python API all build a command and call ``run``. Settings may be given as in a
    recipe: a path as a string, an index, loss or other component by its name.

    Example:
        >>> report = encloze.Evaluate(dataset="my_data", systems=["bm25", "minilm"]).run()

    Raises:
        RecipeError: Settings are missing, unknown or invalid. The message lists all of them.
    """

    positional_settings: ClassVar[tuple[str, ...]] = ()
    """Settings whose values may be given without the setting's name on the command line, in this order."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if run := cls.__dict__.get("run"):

            @functools.wraps(run)
            def run_explained(self: Command) -> Any:
                with explain_file_errors():
                    return run(self)

            cls.run = run_explained  # type: ignore[method-assign]

    def run(self) -> Any:
        """Run the command and return its result as an object. The caller prints the result."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training command."""

    folder: Path
    """Folder of the trained model."""
    next_command: str
    """Name of the command that is usually run after this one."""
    verdict: Verdict | None = field(default=None, kw_only=True)
    """Whether the model learned, and what to do next; None if the training run does not tell."""


@dataclass(frozen=True)
class MergeResult(TrainingResult):
    """Result of ``merge``: a model with interpolated weights."""

    weight: float
    """Interpolation weight of the adapted model, from 0 to 1."""
    reports: tuple[Report, ...]
    """One report for each data set, with the model before adaptation, the adapted model and the merged models."""


@dataclass(frozen=True)
class ExportResult:
    """Result of ``export``: the folder that was written, and its certificate.

    Attributes:
        folder: The folder.
        report: How its vectors or scores differ from those of the model, and its size and latency.
        next_command: Name of the command that is usually run after this one.
    """

    folder: Path
    report: ExportReport
    next_command: Literal["index", "search"]


@dataclass(frozen=True)
class CompressionResult:
    """Result of ``compress``: the folder that was written.

    Attributes:
        folder: The folder.
        report: Quality and costs of all configurations, and the recommended one.
        recipe: Recipe of the command ``index`` with the recommended configuration; None if none is recommended.
    """

    folder: Path
    report: CompressionReport
    recipe: Path | None


@dataclass(frozen=True)
class ClassifierTrainingResult:
    """Result of ``finetune_classifier``."""

    folder: Path
    """Folder of the trained classifier."""
    reports: tuple[LabelReport, ...]
    """Report of the evaluation on each evaluated split."""


@dataclass(frozen=True)
class ScoringResult:
    """Result of ``score``: a folder with a run file of model scores."""

    folder: Path
    queries: int
    """Number of queries with scored candidates."""
    pairs: int
    """Number of scored query-document pairs."""


@dataclass(frozen=True)
class MiningResult:
    """Result of ``mine``: a folder with a run file of hard negatives."""

    folder: Path
    queries: int
    """Number of queries with mined negatives."""
    negatives: int
    """Total number of negatives, over all queries."""
    dropped: dict[str, int]
    """Number of rejected candidates, keyed by the reason for the rejection."""
    queries_without_negatives: int


class CalibrationError(NamedTuple):
    """Calibration error and Brier score of predicted probabilities; 0 is best."""

    calibration_error: float
    brier: float


class OperatingPoint(NamedTuple):
    """Precision and recall if all pairs with a probability of at least ``probability`` are classified as relevant."""

    probability: float
    precision: float | None
    """Fraction of relevant pairs among the pairs classified as relevant; None if no pair is classified as relevant."""
    recall: float


@dataclass(frozen=True)
class CalibrationResult:
    """Result of ``calibrate``: a re-ranker whose scores are mapped to probabilities."""

    folder: Path
    """Folder of the calibrated re-ranker."""
    pairs: int
    """Number of scored and judged pairs."""
    relevant: float
    """Fraction of the pairs that are relevant."""
    uncalibrated: CalibrationError
    """Calibration error and Brier score if the logistic function of a score is used as its probability."""
    calibrated: CalibrationError
    """Calibration error and Brier score of the fitted curve, measured by cross-validation over queries."""
    operating_points: list[OperatingPoint]


@dataclass(frozen=True)
class GenerationResult:
    """Result of ``generate``: a folder with generated queries."""

    folder: Path
    documents: int
    """Number of documents for which queries were generated."""
    queries: dict[str, int]
    """Number of queries of each split."""
    dropped: dict[str, int]
    """Number of rejected generated texts, keyed by the reason for the rejection."""
    examples: tuple[tuple[str, str], ...]
    """A few queries, each with the beginning of its document."""


@dataclass(frozen=True)
class StageEffect:
    """Effect of a pipeline stage: how much higher the first measure of a report is with the stage than without it."""

    stage: str
    difference: Interval
    """Mean difference over the queries, with its 95 % confidence interval."""
    minimum_detectable_difference: float
    """Smallest true difference that a test with this number of queries detects with a power of 80 %."""

    @classmethod
    def from_estimate(cls, stage: str, difference: Estimate) -> Self:
        """Create the effect of the stage named ``stage`` from the estimated difference that the stage makes."""
        return cls(stage, difference.interval(), difference.minimum_detectable_difference())

    def verdict(self) -> str:
        """Return "improved" or "degraded" if the confidence interval excludes 0.

        Otherwise return a text with the smallest difference that would have been detected.
        """
        if self.difference.low > 0:
            return "improved"
        if self.difference.high < 0:
            return "degraded"
        return f"no significant difference; {self.minimum_detectable_difference:.4f} or more would be detected"


def get_command(name: str) -> type[Command]:
    """Return the command class called ``name``. Raises RecipeError with suggestions for an unknown name."""
    known = Command.members()
    if name not in known:
        raise RecipeError("the command line", [("", f"unknown command {name!r}; {nearest(name, known)}")])
    return Command.member(name)

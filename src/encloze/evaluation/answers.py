"""How well queries with and without an answer are distinguished: rates of both errors, and their trade-off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from encloze.intervals import Interval
from encloze.storage.json_files import read_json, write_json
from encloze.tables import Column, Kind, Table, notebook_html

ANSWERS_FILE = "answers.json"
_LISTED_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


class OperatingRate(NamedTuple):
    """The rates of both errors at one threshold."""

    threshold: float
    """Probability from which a query counts as answered."""
    false_answers: float
    """Share of the queries without an answer that count as answered."""
    missed_answers: float
    """Share of the queries with an answer that count as unanswered."""


@dataclass(frozen=True)
class AnswerReport:
    """How well an index distinguishes queries with and without an answer, for queries that were not used for fitting.

    Example:
        >>> share, curve = Interval(0.05, 0.02, 0.1), (OperatingRate(0.5, 0.0, 1.0), OperatingRate(0.4, 0.5, 0.0))
        >>> report = AnswerReport("index", "off-topic queries", 90, 90, 0.05, 0.5, share, share, {"all": 0.9}, curve)
        >>> [len(table.rows) for table in report.tables()]
        [2, 2]
    """

    index: str
    """The index folder."""
    unanswerable: str
    """Where the queries without an answer come from."""
    answered: int
    """Number of queries with an answer."""
    unanswered: int
    """Number of queries without an answer."""
    wanted_rate: float
    """The wanted rate of false answers."""
    threshold: float
    """The chosen threshold: probability from which a query counts as answered."""
    false_answers: Interval
    """Share of the queries without an answer that count as answered, with its 95 % interval."""
    missed_answers: Interval
    """Share of the queries with an answer that count as unanswered, with its 95 % interval."""
    areas: Mapping[str, float]
    """Area under the ROC curve: of the decision (``all``), and of the highest score of each index alone."""
    curve: tuple[OperatingRate, ...]
    """The rates of both errors at different thresholds, by increasing rate of false answers."""

    def tables(self) -> list[Table]:
        """Return a table of the chosen threshold, and one of the trade-off between the two errors."""
        columns = (
            Column("queries"),
            Column("number", Kind.COUNT),
            Column("error"),
            Column("rate", Kind.MEASURE),
        )
        rows = (
            (f"without an answer: {self.unanswerable}", self.unanswered, "an answer is reported", self.false_answers),
            ("with an answer", self.answered, "no answer is reported", self.missed_answers),
        )
        listed = [self._at(rate) for rate in _LISTED_RATES]
        trade_off = tuple((one.threshold, one.false_answers, one.missed_answers) for one in dict.fromkeys(listed))
        kinds = (
            Column("threshold", Kind.MEASURE),
            Column("false answers", Kind.MEASURE),
            Column("missed answers", Kind.MEASURE),
        )
        title = f"Threshold {self.threshold:.4f}, wanted rate of false answers {self.wanted_rate:g}"
        return [Table(title, columns, rows), Table("Other thresholds", kinds, trade_off)]

    @property
    def notes(self) -> list[str]:
        """How the rates were measured, and how well single indexes distinguish the queries."""
        areas = ", ".join(f"{name} {area:.3f}" for name, area in self.areas.items())
        return [
            "rates of queries that were not used for fitting (5-fold cross-validation), with 95 % Wilson intervals",
            f"area under the ROC curve (0.5: chance, 1: perfect): {areas}",
        ]

    def _at(self, rate: float) -> OperatingRate:
        """Return the point of the curve with the fewest missed answers, and at most ``rate`` false ones."""
        return min((one for one in self.curve if one.false_answers <= rate), key=lambda one: one.missed_answers)

    def save(self, folder: Path) -> None:
        """Write the report into an existing folder, as JSON."""
        write_json(folder / ANSWERS_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the report that ``save`` wrote. Raises CheckpointError if the file is damaged."""
        values = read_json(folder / ANSWERS_FILE, dict[str, Any])
        intervals = {name: Interval(*values[name]) for name in ("false_answers", "missed_answers")}
        return cls(**{**values, **intervals, "curve": tuple(OperatingRate(*point) for point in values["curve"])})

    def to_pandas(self) -> Any:
        """Return the trade-off as a ``pandas.DataFrame``. Raises MissingExtraError if pandas is not installed."""
        return self.tables()[1].to_pandas()

    def _repr_html_(self) -> str:
        return notebook_html(self.tables(), self.notes)


def threshold_at(answered: np.ndarray, unanswered: np.ndarray, rate: float) -> float:
    """Return a threshold at which at most a share ``rate`` of the queries without an answer counts as answered.

    It is in the middle between the probability of the best query that is rejected because of the rate and the next
    higher probability.

    Args:
        answered: The probability of an answer for queries that have one: (queries,).
        unanswered: The probability of an answer for queries without one: (queries,).
        rate: The share, from 0 to below 1.

    Example:
        >>> threshold_at(np.array([0.5, 0.9]), np.array([0.1, 0.2, 0.3, 0.4]), 0.5)
        0.25
    """
    rejected = np.sort(unanswered)[::-1][int(rate * len(unanswered))]
    everything = np.concatenate([answered, unanswered])
    higher = everything[everything > rejected].min(initial=1.0)
    return float(max((rejected + higher) / 2, np.nextafter(rejected, 2)))


def error_curve(answered: np.ndarray, unanswered: np.ndarray, points: int = 200) -> tuple[OperatingRate, ...]:
    """Return the rates of both errors at thresholds from the highest to the lowest, at most ``points``.

    Args:
        answered: The probability of an answer for queries that have one.
        unanswered: The probability of an answer for queries without one.
        points: Maximum number of thresholds.
    """
    thresholds = np.unique(np.concatenate([answered, unanswered]))[::-1]
    thresholds = np.append(np.nextafter(thresholds[:1], 2), thresholds)
    chosen = thresholds[np.unique(np.linspace(0, len(thresholds) - 1, points).astype(int))]
    return tuple(
        OperatingRate(float(threshold), float((unanswered >= threshold).mean()), float((answered < threshold).mean()))
        for threshold in chosen
    )

"""Report on an export: its differences from the model, ranking, size and latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from encloze.data.records import Judgments, Run
from encloze.evaluation.estimates import estimate
from encloze.evaluation.latency import LATENCIES
from encloze.evaluation.measures import compute_measures
from encloze.exports.base import Bounds, ScoreBounds
from encloze.intervals import Interval
from encloze.storage.json_files import write_json
from encloze.tables import Column, Kind, Table, Value

EXPORT_REPORT = "export_report.json"
_LEVEL = 0.05


class Difference(NamedTuple):
    """How much the vectors of an export differ from those of the model."""

    largest: float
    """Largest difference of two numbers, relative to the length of the longest embedding or to the largest weight."""
    lowest_cosine: float
    """Lowest cosine similarity of the two vectors of a text."""
    mean_cosine: float
    """Mean cosine similarity."""

    def failures(self, name: str, bounds: Bounds) -> Iterator[str]:
        """Yield the bounds that are not kept. ``name`` says which vectors were compared."""
        if not self.largest <= bounds.difference:
            yield f"{name}: the largest difference is {self.largest:.2g}, above {bounds.difference:g}"
        if not self.lowest_cosine >= bounds.cosine:
            yield f"{name}: the lowest cosine is {self.lowest_cosine:.6f}, below {bounds.cosine:g}"


class ScoreDifference(NamedTuple):
    """How much the scores of an exported re-ranker differ from those of the model."""

    largest: float
    """Largest difference of two scores, relative to the largest absolute score, or to 1 if all are below 1."""
    correlation: float
    """Correlation (Pearson) of the scores of all pairs; 1 if the model gives all pairs the same score."""

    def failures(self, name: str, bounds: ScoreBounds) -> Iterator[str]:
        """Yield the bounds that are not kept. ``name`` says which pairs were compared."""
        if not self.largest <= bounds.difference:
            yield f"{name}: the largest difference of scores is {self.largest:.2g}, above {bounds.difference:g}"
        if not self.correlation >= bounds.correlation:
            yield f"{name}: the correlation of scores is {self.correlation:.6f}, below {bounds.correlation:g}"


class Ranking(NamedTuple):
    """nDCG@10 of both on a data set, over a sample of its documents."""

    queries: int
    documents: int
    model: float
    export: float
    difference: Interval
    """Mean difference (export - model) with its 95 % confidence interval."""
    is_equivalent: bool
    """Whether the true difference is within the margin (two one-sided tests at the level .05)."""

    def failures(self, margin: float) -> Iterator[str]:
        """Yield a message if the difference is not within the margin."""
        if not self.is_equivalent:
            low, high = self.difference[1:]
            yield (
                f"nDCG@10 is {self.export:.4f} instead of {self.model:.4f}, with a difference of {low:+.4f} to "
                f"{high:+.4f}: not equivalent within {margin:g}"
            )


def compare_rankings(model: Run, export: Run, judgments: Judgments, documents: int, margin: float) -> Ranking:
    """Compare nDCG@10 of the rankings of a model and of its export.

    Args:
        model: Ranking of the model.
        export: Ranking of the export, of the same queries.
        judgments: Grades of these queries.
        documents: Number of documents from which both ranked.
        margin: Margin of the equivalence test.
    """
    values = [compute_measures(run, judgments, ["nDCG@10"])["nDCG@10"] for run in (model, export)]
    difference = estimate([values[1]], [values[0]])
    means = [float(one.mean()) for one in values]
    is_equivalent = difference.p_equivalent(margin) < _LEVEL
    return Ranking(len(judgments), documents, means[0], means[1], difference.interval(), is_equivalent)


_TITLES: dict[type, tuple[str, ...]] = {
    Difference: ("largest relative difference", "lowest cosine", "mean cosine"),
    ScoreDifference: ("largest relative difference", "correlation"),
}
"""Titles of the fields in tables."""


@dataclass(frozen=True)
class ExportReport:
    """Certificate of an export."""

    model: str
    format: str
    """The format with its settings, such as ``onnx (precision int8)``."""
    compared: str
    """What was compared, such as ``26 texts`` or ``42 pairs``."""
    differences: Mapping[str, Difference | ScoreDifference]
    """Differences of what was compared: of queries and documents of each kind of vector, such as ``dense, queries``,
    or of the scores of pairs."""
    bounds: Bounds | ScoreBounds
    """What was required."""
    ranking: Ranking | None
    """Comparison on a data set; None without a data set."""
    bytes: dict[str, int]
    """Size of the files of the model and of the export."""
    milliseconds: dict[str, dict[str, float]]
    """Latency of a query with the model (auto precision) and with the export: p50, p95, p99."""
    timed: str
    """What was timed, and how often."""
    needs_torch: bool
    """Whether the export was loaded with torch."""
    machine: dict[str, Any] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    """Bounds that are not kept; empty if the export passed."""
    limitations: tuple[str, ...] = ()
    """What the export lacks of the model, because the format cannot express it."""

    def save(self, folder: Path) -> None:
        """Write export_report.json into a folder."""
        write_json(folder / EXPORT_REPORT, asdict(self))

    def tables(self) -> list[Table]:
        """Return a table of the differences, and one of ranking, size and latency."""
        first = next(iter(self.differences.values()))
        columns = [Column("compared"), *(Column(name, Kind.NUMBER) for name in _TITLES[type(first)])]
        rows = tuple((name, *one) for name, one in self.differences.items())
        others = (Column(""), Column("model", Kind.NUMBER), Column("export", Kind.NUMBER))
        figures: list[tuple[Value, ...]] = [("MB", self.bytes["model"] / 1e6, self.bytes["export"] / 1e6)]
        for name in LATENCIES:
            model, export = (self.milliseconds[side][name] for side in ("model", "export"))
            figures.append((f"ms per query, {name}", model, export))
        if self.ranking:
            figures.insert(0, ("nDCG@10", self.ranking.model, self.ranking.export))
        title = f"{self.model} and its export ({self.format}), {self.compared}"
        return [Table(title, tuple(columns), rows), Table("Ranking, size and latency", others, tuple(figures))]

    @property
    def notes(self) -> list[str]:
        """What the figures mean, and which bounds are not kept."""
        notes = [
            *(f"not exported: {limitation}" for limitation in self.limitations),
            f"required: {self.bounds}",
            f"latency: {self.timed} after 5 to warm up; the model in its usual precision",
        ]
        if self.ranking:
            low, high = self.ranking.difference[1:]
            verdict = "equivalent" if self.ranking.is_equivalent else "not equivalent"
            notes.append(
                f"nDCG@10 of {self.ranking.queries:,} queries and {self.ranking.documents:,} documents: difference "
                f"{low:+.4f} to {high:+.4f}, {verdict} within {self.bounds.margin:g}"
            )
        return [*notes, *(f"failed: {failure}" for failure in self.failures)]

"""Comparison of smaller and faster variants of a retriever, and the choice of one within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from encloze.evaluation.latency import LATENCIES
from encloze.intervals import Interval
from encloze.settings import PositiveFloat, Settings
from encloze.storage.json_files import read_json, write_json
from encloze.tables import Column, Kind, Table, Value, notebook_html

COMPRESSION_FILE = "compression.json"
MEASURE = "nDCG@10"
_CLOSE = 1.1
"""Latencies up to this factor above the lowest one count as equal: timings vary by some percent."""


@dataclass(frozen=True)
class Budget(Settings):
    """What a compressed retriever may cost. A limit that is not set does not restrict the choice."""

    loss: PositiveFloat = 0.01
    """Margin of the equivalence test: how much nDCG@10 may differ from that of the model in float32."""
    milliseconds: PositiveFloat | None = None
    """Maximum median latency of a query: encoding and search."""
    model_mb: PositiveFloat | None = None
    """Maximum size of the model's weights in MB."""
    vectors_mb: PositiveFloat | None = None
    """Maximum memory of the vectors that a search compares, in MB, for the documents of the data set."""


class Configuration(NamedTuple):
    """A variant of the model, with one way of storing the vectors: its quality and its costs."""

    model: str
    """Name of the model or of the student."""
    precision: str
    """Precision of the encoder: ``float32``, ``bfloat16``, ``onnx`` (float32) or ``onnx_int8``."""
    vectors: str
    """The index and its settings, such as ``ivf (storage int8)``."""
    quality: Interval
    """Mean nDCG@10 with its 95 % interval."""
    difference: Interval
    """Mean difference from the first configuration, with its 95 % interval; 0 for the first one itself."""
    is_equivalent: bool
    """Whether the true difference is within the margin (two one-sided tests at the level .05)."""
    model_bytes: int
    """Size of the weights."""
    vector_bytes: int
    """Memory of the vectors that a search compares. Embeddings that are only read to rescore candidates, and are mapped
    from a file, are not counted."""
    disk_bytes: int
    """Size of the index on disk."""
    milliseconds: dict[str, float]
    """Latency of a query, one at a time, encoding and search: p50, p95, p99."""
    encoding_milliseconds: float
    """Median latency of encoding a query alone."""
    documents_per_second: float
    """Throughput of encoding documents in batches."""

    @property
    def name(self) -> str:
        """Model, precision and vectors in one line."""
        return f"{self.model} {self.precision}, {self.vectors}"

    @property
    def costs(self) -> tuple[float, float]:
        """What a smaller value is better of: median latency, and memory of model and vectors."""
        return self.milliseconds["p50"], self.model_bytes + self.vector_bytes


@dataclass(frozen=True)
class CompressionReport:
    """Quality and costs of all configurations, and the recommended one."""

    dataset: str
    split: str
    queries: int
    documents: int
    budget: Budget
    prefer: Literal["latency", "memory"]
    configurations: tuple[Configuration, ...]
    """The first one is the uncompressed model with exact search."""
    skipped: tuple[str, ...] = ()
    """What could not be tried, and why."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """Processor and number of threads."""

    @property
    def pareto(self) -> list[bool]:
        """For each configuration, whether no other one is at least as good in quality, latency and memory, and better
        in one of them."""
        points = [(-one.quality.mean, *one.costs) for one in self.configurations]
        return [not any(_dominates(other, point) for other in points) for point in points]

    @property
    def recommended(self) -> Configuration | None:
        """The configuration to use, of those that are equivalent and within the budget.

        It takes the least memory, or for ``latency`` the least memory of those within a tenth of the lowest latency.

        None if no configuration is.
        """
        usable = [one for one in self.configurations if one.is_equivalent and not self._excess(one)]
        if not usable:
            return None
        if self.prefer == "memory":
            return min(usable, key=self._cost)
        fastest = min(one.costs[0] for one in usable)
        return min((one for one in usable if one.costs[0] <= _CLOSE * fastest), key=lambda one: one.costs[1])

    @property
    def reason(self) -> str:
        """Why this configuration is recommended, or why none is."""
        chosen, first, budget = self.recommended, self.configurations[0], self.budget
        if chosen is None:
            equivalent = [one for one in self.configurations if one.is_equivalent]
            closest = min(equivalent, key=self._cost)
            return (
                f"No configuration that is equivalent within {budget.loss:g} is within the budget. The closest one is "
                f"{closest.name}: {'; '.join(self._excess(closest))}"
            )
        if chosen is first:
            return "No compression is faster or smaller, equivalent and within the budget. Keep the model as it is"
        fast = f" and whose latency is within {_CLOSE - 1:.0%} of the lowest" * (self.prefer == "latency")
        return (
            f"{chosen.name} takes the least memory of the configurations whose nDCG@10 is equivalent within "
            f"{budget.loss:g}{fast}: "
            f"{_costs_of(chosen)}, and {first.name} {_costs_of(first)}. The difference of nDCG@10 is "
            f"{_bounds(chosen.difference)}"
        )

    def tables(self) -> list[Table]:
        """Return a table of quality, and one of costs."""
        pareto, chosen = self.pareto, self.recommended
        marks = [
            "recommended" if one is chosen else "Pareto" if best else ""
            for one, best in zip(self.configurations, pareto, strict=True)
        ]
        names = Column("", Kind.COUNT), Column("model"), Column("precision"), Column("vectors")
        quality = [
            (number, *one[:3], one.quality, None if number == 1 else one.difference, _yes(one), mark)
            for number, (one, mark) in enumerate(zip(self.configurations, marks, strict=True), 1)
        ]
        costs: list[tuple[Value, ...]] = [
            (
                number,
                *one[:3],
                one.model_bytes / 1e6,
                one.vector_bytes / 1e6,
                one.disk_bytes / 1e6,
                one.encoding_milliseconds,
                one.milliseconds["p50"],
                one.milliseconds["p95"],
                one.documents_per_second,
            )
            for number, one in enumerate(self.configurations, 1)
        ]
        title = f"{self.dataset}, {self.split}: {self.queries:,} queries, {self.documents:,} documents"
        difference = Column("difference", Kind.DIFFERENCE)
        columns = (*names, Column(MEASURE, Kind.MEASURE), difference, Column("equivalent"), Column("choice"))
        sizes = (Column(f"{name}, MB", Kind.MILLISECONDS) for name in ("model", "vectors", "disk"))
        times = (Column(f"ms, {name}", Kind.STATISTIC) for name in ("encoding p50", *LATENCIES[:2]))
        return [
            Table(title, columns, tuple(quality)),
            Table("Costs", (*names, *sizes, *times, Column("docs/s", Kind.STATISTIC)), tuple(costs)),
        ]

    @property
    def notes(self) -> list[str]:
        """What the figures mean, and what is recommended."""
        return [
            f"equivalent: the difference from the first row is within {self.budget.loss:g} (two one-sided tests, 5 %)",
            "Pareto: no other row is at least as good in quality, median latency and memory, and better in one",
            "vectors: what a search compares; embeddings that only rescore candidates stay on disk",
            "ms: queries one by one, 100 after 5 to warm up, encoding and search; docs/s: encoding in batches",
            f"measured on {self.machine.get('processor')}, {self.machine.get('threads')} processors",
            *self.skipped,
            self.reason,
        ]

    def save(self, folder: Path) -> None:
        """Write the report into an existing folder, as JSON."""
        values = asdict(self)
        values["configurations"] = [one._asdict() for one in self.configurations]
        write_json(folder / COMPRESSION_FILE, values)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the report that ``save`` wrote. Raises CheckpointError if the file is damaged."""
        values = read_json(folder / COMPRESSION_FILE, dict[str, Any])
        found = [
            Configuration(**{**one, **{name: Interval(*one[name]) for name in ("quality", "difference")}})
            for one in values["configurations"]
        ]
        return cls(
            **{
                **values,
                "skipped": tuple(values["skipped"]),
                "configurations": tuple(found),
                "budget": Budget(**values["budget"]),
            }
        )

    def to_pandas(self) -> Any:
        """Return the table of quality as a ``pandas.DataFrame``. Raises MissingExtraError without pandas."""
        return self.tables()[0].to_pandas()

    def _repr_html_(self) -> str:
        return notebook_html(self.tables(), self.notes)

    def _cost(self, one: Configuration) -> tuple[float, float]:
        """Return the costs of a configuration, first the one to minimize."""
        return one.costs if self.prefer == "latency" else one.costs[::-1]

    def _excess(self, one: Configuration) -> list[str]:
        """Return the limits of the budget that a configuration exceeds."""
        budget = self.budget
        costs = (
            ("latency", one.milliseconds["p50"], budget.milliseconds, "ms"),
            ("model", one.model_bytes / 1e6, budget.model_mb, "MB"),
            ("vectors", one.vector_bytes / 1e6, budget.vectors_mb, "MB"),
        )
        return [
            f"{name} {value:.1f} {unit}, limit {limit:g}"
            for name, value, limit, unit in costs
            if limit is not None and value > limit
        ]


def _dominates(other: Sequence[float], point: Sequence[float]) -> bool:
    return other != point and all(one <= two for one, two in zip(other, point, strict=True))


def _yes(one: Configuration) -> str:
    return "yes" if one.is_equivalent else "no"


def _costs_of(one: Configuration) -> str:
    milliseconds, memory = one.costs
    return f"{milliseconds:.1f} ms and {memory / 1e6:.1f} MB"


def _bounds(difference: Interval) -> str:
    return f"{difference.low:+.4f} to {difference.high:+.4f}"

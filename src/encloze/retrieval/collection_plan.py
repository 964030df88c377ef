"""The result of ``encloze plan``: predicted costs of collections of several sizes, as numbers and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from encloze.retrieval.collection_costs import (
    UTILIZATION,
    CollectionCosts,
    EncodingSpeed,
    Limits,
    needed_bytes,
    replicas,
)
from encloze.retrieval.cost_models import Estimate, IndexCosts, Sample
from encloze.storage.json_files import write_json
from encloze.tables import Column, Kind, Table, Value, notebook_html

PLAN_FILE = "plan.json"
_GB, _HOUR = 1e9, 3600.0


@dataclass(frozen=True)
class CollectionPlan:
    """Predicted costs of collections of several sizes, what they were predicted from, and the recommended indexes.

    Example:
        >>> plan = encloze.plan("my_texts", [1_000_000], model="minilm")
        >>> plan.costs[0].encoding_seconds.value / 3600, plan.costs[0].recommended
    """

    corpus: str
    """Path of the documents that the sample was taken from."""
    sample_size: int
    """Number of documents in the sample."""
    encoding: EncodingSpeed | None
    """Measurements of the encoder; None without a model."""
    samples: Mapping[str, Sequence[Sample]]
    """Measurements of small indexes, by name."""
    limits: Limits
    """Memory of a machine, and the maximum latency."""
    machines: tuple[int, ...]
    """Numbers of machines for which the time of encoding is shown."""
    queries_per_second: float
    cost_per_hour: float | None
    """Cost of a machine per hour, in any currency; None if it is not known."""
    costs: tuple[CollectionCosts, ...]
    """The predictions for each number of documents."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """Processor and number of threads."""

    def milliseconds(self, index: IndexCosts) -> float:
        """Return the median latency of a query with an index: encoding, except for an index of texts, and search."""
        encoder = self.encoding.query_milliseconds if self.encoding and index.input_type != "text" else 0.0
        return encoder + index.milliseconds.value

    def replicas(self, index: IndexCosts) -> int:
        """Return the number of machines that process the wanted queries per second with an index."""
        return replicas(self.milliseconds(index), self.queries_per_second)

    def encoding_cost(self, costs: CollectionCosts) -> float | None:
        """Return the cost of encoding, the same for any number of machines; None if it is not known."""
        if costs.encoding_seconds is None or self.cost_per_hour is None:
            return None
        return costs.encoding_seconds.value / _HOUR * self.cost_per_hour

    def tables(self) -> list[Table]:
        """Return a table of encoding, one of the texts, and one of the indexes."""
        return [*([self._encoding_table()] if self.encoding else []), self._text_table(), self._index_table()]

    @property
    def notes(self) -> list[str]:
        """What the numbers mean, and what is recommended."""
        speed = self.encoding
        notes = [
            "basis: measured, or predicted for this multiple of the largest (below 1: smallest) measured number",
            f"machines: for {self.queries_per_second:g} queries per second, each busy {UTILIZATION:.0%} of the time",
            "memory: files that searches read, and other memory of the open index; build memory: peak of the build",
        ]
        if speed:
            sizes = [f"{size / _GB:.3g} GB of {name}" for name, size in _memory_of(speed)]
            notes.append(
                f"{speed.model}, {speed.arithmetic}: {speed.documents_per_second:,.1f} documents and "
                f"{speed.tokens_per_second:,.0f} tokens per second in {speed.documents:,} documents, "
                f"{speed.query_milliseconds:.3g} ms a query" + (f", peak {' and '.join(sizes)}" if sizes else "")
            )
        notes.append(
            f"measured on {self.machine.get('processor')}, {self.machine.get('threads')} processors, with "
            f"{self.sample_size:,} documents of {self.corpus}; limits: {self.limits.memory_bytes / _GB:.3g} GB of "
            f"memory, {self.limits.milliseconds:g} ms a query"
        )
        for one in self.costs:
            notes.append(f"{one.documents:,} documents: {one.reason}")
            if one.command:
                notes.append(f"  {one.command}")
        return notes

    def save(self, folder: Path) -> None:
        """Write the plan into an existing folder, as JSON."""
        write_json(folder / PLAN_FILE, asdict(self))

    def to_pandas(self) -> Any:
        """Return the table of the indexes as a ``pandas.DataFrame``. Raises MissingExtraError without pandas."""
        return self._index_table().to_pandas()

    def _repr_html_(self) -> str:
        return notebook_html(self.tables(), self.notes)

    def _encoding_table(self) -> Table:
        rows = [
            (
                one.documents,
                count,
                one.encoding_seconds.value / _HOUR / count,
                self.encoding_cost(one),
                _basis(one.encoding_seconds),
            )
            for one in self.costs
            for count in self.machines
            if one.encoding_seconds
        ]
        columns = (
            Column("documents", Kind.COUNT, is_grouping=True),
            Column("machines", Kind.COUNT),
            Column("hours", Kind.NUMBER),
            Column("cost", Kind.NUMBER),
            Column("basis"),
        )
        return Table("Encoding", columns, tuple(rows)).without_empty_columns()

    def _text_table(self) -> Table:
        rows = [
            (one.documents, one.documents_bytes.value / _GB, one.fields_bytes.value / _GB, _basis(one.documents_bytes))
            for one in self.costs
        ]
        sizes = (Column(f"{name}, GB", Kind.NUMBER) for name in ("texts", "fields"))
        return Table("Texts on disk", (Column("documents", Kind.COUNT), *sizes, Column("basis")), tuple(rows))

    def _index_table(self) -> Table:
        rows: list[tuple[Value, ...]] = [
            (
                one.documents,
                index.index,
                index.build_seconds.value / _HOUR,
                index.disk_bytes.value / _GB,
                index.memory_bytes.value / _GB,
                index.build_bytes.value / _GB,
                self.milliseconds(index),
                self.replicas(index),
                _basis(index.disk_bytes),
                self._verdict(one, index),
            )
            for one in self.costs
            for index in one.indexes
        ]
        columns = (
            Column("documents", Kind.COUNT, is_grouping=True),
            Column("index"),
            *(Column(name, Kind.NUMBER) for name in ("build, hours", "disk, GB", "memory, GB", "build memory, GB")),
            Column("ms, p50", Kind.NUMBER),
            Column("machines", Kind.COUNT),
            Column("basis"),
            Column("choice"),
        )
        return Table("Indexes", columns, tuple(rows))

    def _verdict(self, costs: CollectionCosts, index: IndexCosts) -> str:
        if index.index in costs.recommended:
            return "recommended"
        return "exceeds the memory" if needed_bytes(index) > self.limits.memory_bytes else ""


def _memory_of(speed: EncodingSpeed) -> list[tuple[str, float]]:
    sizes = (("memory", speed.memory_bytes), ("GPU memory", speed.device_bytes))
    return [(name, size) for name, size in sizes if size is not None]


def _basis(estimate: Estimate) -> str:
    return "measured" if estimate.is_measured else f"extrapolated {estimate.factor:.3g}x"

"""What a collection of some number of documents costs, and which index is recommended for it."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encloze.retrieval.cost_models import Estimate, Fit, IndexCosts, IndexModel, distance
from encloze.search.indexes.base import Index
from encloze.settings import default_of, plain

UTILIZATION = 0.7
"""Share of the time in which a machine may process queries: close to 1, queries wait long for the ones before them."""


@dataclass(frozen=True)
class EncodingSpeed:
    """Measured speed and memory of an encoder."""

    model: str
    arithmetic: str
    """Precision and device, such as ``float32 on cpu``."""
    documents: int
    """Number of documents that were encoded."""
    documents_per_second: float
    tokens_per_second: float
    memory_bytes: float | None
    """Peak memory of the process that encodes documents, with the weights; None on systems other than Linux."""
    device_bytes: float | None
    """Peak memory of the GPU; None without a GPU."""
    query_milliseconds: float
    """Median latency of encoding a query."""


@dataclass(frozen=True)
class CollectionCosts:
    """Predicted costs of a collection of a number of documents."""

    documents: int
    encoding_seconds: Estimate | None
    """Time to encode the documents on one machine; None without a model."""
    documents_bytes: Estimate
    """Size of the texts on disk."""
    fields_bytes: Estimate
    """Size on disk of the fields that filters read."""
    indexes: tuple[IndexCosts, ...]
    """Indexes in the order of preference. Those that search so few documents exactly are left out."""
    recommended: tuple[str, ...]
    """Names of the recommended indexes, one for each kind of vector of the model; empty if none is possible."""
    reason: str
    """Why they are recommended, or what is needed instead."""
    command: str | None
    """Command line that builds the recommended indexes."""


@dataclass(frozen=True)
class Limits:
    """What one machine offers, and how long a query may take."""

    memory_bytes: float
    milliseconds: float
    """Maximum median latency of a query: encoding and search."""


class CollectionModel:
    """Predicts the costs of a collection from measurements.

    Args:
        corpus: Path of the documents, for the recommended command.
        speed: Measurements of the encoder; None without a model.
        documents: Size of the texts on disk.
        fields: Size of the fields on disk.
        indexes: Costs of the indexes, in the order of preference.
        input_types: What the recommended indexes are built from: the kinds of vectors of the model, or ``text``.
    """

    def __init__(
        self,
        corpus: str,
        speed: EncodingSpeed | None,
        documents: Fit,
        fields: Fit,
        indexes: Sequence[IndexModel],
        input_types: Sequence[str],
    ) -> None:
        self._corpus, self._speed, self._documents, self._fields = corpus, speed, documents, fields
        self._indexes, self._input_types = tuple(indexes), tuple(input_types)

    def at(self, documents: int, limits: Limits) -> CollectionCosts:
        """Return the costs of a number of documents, and the first indexes in the order of preference within limits."""
        possible = [model for model in self._indexes if documents >= model.index.min_documents]
        costs = tuple(model.at(documents) for model in possible)
        speed, encoding = self._speed, None
        if speed:
            factor = distance(documents, 1, speed.documents)
            encoding = Estimate(documents / speed.documents_per_second, factor)
        chosen, reasons = self._choose(costs, limits)
        command = None
        if chosen:
            settings = [_setting(possible[costs.index(one)].index) for one in chosen]
            model = f"--model {shlex.quote(speed.model)} " if speed else ""
            names = [one for one in settings if isinstance(one, str)]
            indexes = ",".join(names) if names == settings else json.dumps(settings)
            location = f"--corpus {shlex.quote(self._corpus)} --indexes {shlex.quote(indexes)} --output index"
            command = f"encloze index {model}{location}"
        return CollectionCosts(
            documents,
            encoding,
            self._documents.at(documents),
            self._fields.at(documents),
            costs,
            tuple(one.index for one in chosen),
            "; ".join(reasons),
            command,
        )

    def _choose(self, costs: Sequence[IndexCosts], limits: Limits) -> tuple[list[IndexCosts], list[str]]:
        """Return an index for each kind of input, or none, and the reasons."""
        chosen, reasons = list[IndexCosts](), list[str]()
        memory = limits.memory_bytes - ((self._speed.memory_bytes or 0) if self._speed else 0)
        milliseconds = limits.milliseconds - (self._speed.query_milliseconds if self._speed else 0)
        for kind in self._input_types:
            candidates = [one for one in costs if one.input_type == kind]
            if not candidates:
                continue
            fitting = [one for one in candidates if needed_bytes(one) <= memory]
            if not fitting:
                smallest = min(candidates, key=needed_bytes)
                reasons.append(
                    f"{smallest.index}, the smallest index, needs {_gb(needed_bytes(smallest))}, and the memory that a "
                    f"machine has for it is {_gb(max(0.0, memory))}: a distributed engine is needed, and its costs "
                    "can only be extrapolated from these"
                )
                return [], reasons
            fast = [one for one in fitting if one.milliseconds.value <= milliseconds]
            best = fast[0] if fast else min(fitting, key=lambda one: one.milliseconds.value)
            rejected = candidates[: candidates.index(best)]
            why = [text for one in rejected if (text := _excess(one, memory, milliseconds))]
            size, own = _gb(needed_bytes(best)), f"{best.milliseconds.value:.3g} ms a search"
            if not fast:
                why.append(f"no index that fits into memory searches within {max(0.0, milliseconds):.3g} ms")
            reasons.append(f"{best.index} takes {own} and {size} of memory" + (f"; {', '.join(why)}" if why else ""))
            chosen.append(best)
            memory, milliseconds = memory - needed_bytes(best), milliseconds - best.milliseconds.value
        return chosen, reasons


def needed_bytes(costs: IndexCosts) -> float:
    """Return the memory that an index needs: while it is built, or while it is searched."""
    return max(costs.memory_bytes.value, costs.build_bytes.value)


def replicas(milliseconds: float, queries_per_second: float) -> int:
    """Return the number of machines for a load, each of which processes queries one after the other.

    Args:
        milliseconds: Latency of a query: encoding and search.
        queries_per_second: Queries of all users together.

    Example:
        >>> replicas(35.0, 50.0)
        3
    """
    return max(1, math.ceil(round(queries_per_second * milliseconds / 1000 / UTILIZATION, 9)))


def _setting(index: Index) -> str | dict[str, Any]:
    """Return an index as in a recipe, with the settings that are not the default ones."""
    changed = {
        field.name: plain(value)
        for field in dataclasses.fields(index)
        if (value := getattr(index, field.name)) != default_of(field)
    }
    return {"type": index.name, **changed} if changed else str(index.name)


def _excess(costs: IndexCosts, memory: float, milliseconds: float) -> str:
    """Return why an index is not recommended, or an empty string."""
    if needed_bytes(costs) > memory:
        return f"{costs.index} needs {_gb(needed_bytes(costs))} of memory, more than {_gb(max(0.0, memory))}"
    if costs.milliseconds.value > milliseconds:
        return f"{costs.index} takes {costs.milliseconds.value:.3g} ms, more than {max(0.0, milliseconds):.3g} ms"
    return ""


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"

"""Certificate of an export: its vectors, ranking, size and latency, compared with those of the model."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import sample_queries
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, DataError
from encloze.evaluation.estimates import estimate
from encloze.evaluation.latency import LATENCIES, latencies
from encloze.evaluation.measures import compute_measures
from encloze.execution.encodings import read_representation
from encloze.exports.base import Bounds, ExportFormat
from encloze.intervals import Interval
from encloze.retrieval.tuning_queries import queries_with_documents
from encloze.storage.cache import temporary_folder
from encloze.storage.json_files import write_json
from encloze.storage.model_folders import size_of_weights
from encloze.tables import Column, Kind, Table, Value

EXPORT_REPORT = "export_report.json"
_QUERIES, _FEWEST_QUERIES, _DOCUMENTS, _SEED = 300, 20, 2000, 0
_LEVEL = 0.05
_TEXTS = (
    "",
    " ",
    "a",
    "Where do rivers end?",
    "The report describes how water moves through the catchment, from snow in winter to floods in spring.",
    "איפה נגמרים הנהרות? הם זורמים לים.",
    "أين تنتهي الأنهار؟",
    "川はどこで終わりますか。",
    "Naïve café, 3.14 €, x² + y² = z², https://example.org/a?b=c#d 🙂",
    "one\ntwo\t three  ",
    "[CLS] special [SEP] tokens [PAD] <s> </s> [MASK]",
)
_LONG = ("rivers flow into the sea and freeze in winter near the northern coast " * 60, "riversflowintothesea" * 600)
"""Texts that are longer than usual length limits."""


class Difference(NamedTuple):
    """How much the vectors of an export differ from those of the model."""

    largest: float
    """Largest difference of two numbers, relative to the length of the longest embedding or to the largest weight."""
    lowest_cosine: float
    """Lowest cosine similarity of the two vectors of a text."""
    mean_cosine: float
    """Mean cosine similarity."""


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


@dataclass(frozen=True)
class ExportReport:
    """Certificate of an export."""

    model: str
    format: str
    """The format with its settings, such as ``onnx (precision int8)``."""
    texts: int
    """Number of compared texts, queries and documents."""
    differences: dict[str, Difference]
    """Differences of queries and documents of each kind of vector, such as ``dense, queries``."""
    bounds: Bounds
    """What was required."""
    ranking: Ranking | None
    """Comparison on a data set; None without a data set."""
    bytes: dict[str, int]
    """Size of the files of the model and of the export."""
    milliseconds: dict[str, dict[str, float]]
    """Latency of encoding a single query with the model (auto precision) and with the export: p50, p95, p99."""
    needs_torch: bool
    """Whether the export was loaded with torch."""
    machine: dict[str, Any] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    """Bounds that are not kept; empty if the export passed."""

    def save(self, folder: Path) -> None:
        """Write export_report.json into a folder."""
        write_json(folder / EXPORT_REPORT, asdict(self))

    def tables(self) -> list[Table]:
        """Return a table of the vectors, and one of ranking, size and latency."""
        columns = (
            Column("vectors"),
            Column("largest relative difference", Kind.NUMBER),
            Column("lowest cosine", Kind.NUMBER),
            Column("mean cosine", Kind.NUMBER),
        )
        rows = tuple((name, *one) for name, one in self.differences.items())
        others = (Column(""), Column("model", Kind.NUMBER), Column("export", Kind.NUMBER))
        figures: list[tuple[Value, ...]] = [("MB", self.bytes["model"] / 1e6, self.bytes["export"] / 1e6)]
        for name in LATENCIES:
            model, export = (self.milliseconds[side][name] for side in ("model", "export"))
            figures.append((f"ms per query, {name}", model, export))
        if self.ranking:
            figures.insert(0, ("nDCG@10", self.ranking.model, self.ranking.export))
        title = f"{self.model} and its export ({self.format}), {self.texts:,} texts"
        return [Table(title, columns, rows), Table("Ranking, size and latency", others, tuple(figures))]

    @property
    def notes(self) -> list[str]:
        """What the figures mean, and which bounds are not kept."""
        difference, cosine, margin = self.bounds
        notes = [
            f"required: a difference of at most {difference:g}, and a cosine of {cosine:g} or more",
            "latency: queries encoded one by one, 100 after 5 to warm up; the model in its usual precision",
        ]
        if self.ranking:
            low, high = self.ranking.difference[1:]
            verdict = "equivalent" if self.ranking.is_equivalent else "not equivalent"
            notes.append(
                f"nDCG@10 of {self.ranking.queries:,} queries and {self.ranking.documents:,} documents: difference "
                f"{low:+.4f} to {high:+.4f}, {verdict} within {margin:g}"
            )
        return [*notes, *(f"failed: {failure}" for failure in self.failures)]


def certify(
    encoder: Encoder,
    exact: Encoder,
    format_: ExportFormat,
    folder: Path,
    model_folder: Path,
    sample: Sample | None,
) -> ExportReport:
    """Load an export in a new process, and compare it with the model.

    Args:
        encoder: The model as it is usually used, for the latency.
        exact: The model in float32, for the vectors.
        format_: The format of the export.
        folder: The exported folder.
        model_folder: The folder of the model, for its size.
        sample: Judged queries and documents, which are compared, too; None for texts that cover special cases only.
    """
    queries, documents = [*_TEXTS, *_LONG], [*_TEXTS, *_LONG]
    if sample:
        queries += [query.text for query in sample.queries]
        documents += list(sample.corpus.texts(sample.numbers))
    timed = [query.text for query in sample.queries] if sample else [text for text in _TEXTS if len(text) > 5]
    progress.note(f"Encoding {len(queries) + len(documents):,} texts with the export and with the model")
    result, found = _reload(format_, folder, queries, documents, timed)
    with progress.use_listener(progress.SilentListener()):  # texts that are longer than the limit are meant to be
        parts = list(exact.represent_documents(documents, len(documents)))
        expected = exact.represent_queries(queries), Representation.concatenate(parts)
    differences = {
        f"{kind}, {name}": _difference(getattr(one, kind), getattr(other, kind))
        for kind in exact.views
        for name, one, other in zip(("queries", "documents"), expected, found, strict=True)
    }
    skipped = len(_TEXTS) + len(_LONG)
    ranking = None
    if sample:
        scores = [exact.similarity(*(_rows(vectors, skipped) for vectors in pair)) for pair in (expected, found)]
        ranking = _ranking(sample, scores, format_.bounds.margin)
    return ExportReport(
        model=exact.name,
        format=format_.summary(),
        texts=len(queries) + len(documents),
        differences=differences,
        bounds=format_.bounds,
        ranking=ranking,
        bytes={"model": size_of_weights(model_folder), "export": size_of_weights(folder)},
        milliseconds={
            "model": latencies(lambda query: encoder.represent_queries([query]), timed),
            "export": result["milliseconds"],
        },
        needs_torch=result["torch"],
        machine={"processor": processor(), "threads": os.cpu_count(), "system": platform.platform()},
        failures=tuple(_failures(differences, ranking, format_.bounds)),
    )


class Sample(NamedTuple):
    """Queries of a data set, and documents that include their relevant ones."""

    queries: list[Any]
    judgments: dict[str, dict[str, int]]
    corpus: Any
    numbers: np.ndarray


def sample_of(dataset: DatasetSplit) -> Sample:
    """Return queries of a data set, and documents. Raises DataError if there are fewer than 20 such queries."""
    judged = queries_with_documents(dataset)
    if len(judged.queries) < _FEWEST_QUERIES:
        raise DataError(
            f"{dataset.format.location()}: {len(judged.queries)} queries of the split {dataset.split!r} have relevant "
            f"documents. At least {_FEWEST_QUERIES} are needed to compare nDCG@10; a few hundred are better"
        )
    queries = sample_queries(judged.queries, _QUERIES)
    known = dataset.corpus.number_of
    judgments = {query.id: dict(judged.judgments[query.id]) for query in queries}
    relevant = {known[id_] for grades in judgments.values() for id_ in grades if id_ in known}
    drawn = np.random.default_rng(_SEED).permutation(len(dataset.corpus))[:_DOCUMENTS]
    return Sample(queries, judgments, dataset.corpus, np.unique([*relevant, *drawn.tolist()]).astype(np.int64))


def _reload(
    format_: ExportFormat, folder: Path, queries: list[str], documents: list[str], timed: list[str]
) -> tuple[dict[str, Any], tuple[Representation, Representation]]:
    with temporary_folder() as temporary, progress.task("Checking the export", 1, "exports") as bar:
        files = {name: str(temporary / f"{name}.npz") for name in ("query_vectors", "document_vectors")}
        files["result"] = str(temporary / "result.json")
        task = {"folder": str(folder), "backend": format_.backend, "queries": queries, "documents": documents}
        (temporary / "task.json").write_text(json.dumps({**task, **files, "timed": timed}), encoding="utf-8")
        command = [sys.executable, "-m", "encloze.exports._reload", str(temporary / "task.json")]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip().rpartition("\n")[2]
            raise CheckpointError(f"the export cannot be loaded again: {reason}")
        bar.advance(1)
        result = json.loads(Path(files["result"]).read_text(encoding="utf-8"))
        vectors = [read_representation(Path(files[name])) for name in ("query_vectors", "document_vectors")]
    return result, (vectors[0], vectors[1])


def _difference(expected: Any, found: Any) -> Difference:
    if expected.shape != found.shape:
        return Difference(float("inf"), -1.0, -1.0)
    if hasattr(expected, "toarray"):  # term weights
        largest = abs(expected - found).max() / max(float(abs(expected).max()), 1e-12)
        products = np.asarray(expected.multiply(found).sum(axis=1)).ravel()
        squares = [np.asarray(one.multiply(one).sum(axis=1)).ravel() for one in (expected, found)]
    else:
        largest = float(np.abs(expected - found).max()) / max(float(np.linalg.norm(expected, axis=1).max()), 1e-12)
        products = (expected * found).sum(axis=1)
        squares = [(one * one).sum(axis=1) for one in (expected, found)]
    lengths = np.sqrt(squares[0] * squares[1])
    both_empty = (squares[0] == 0) & (squares[1] == 0)
    cosines = np.where(both_empty, 1.0, products / np.maximum(lengths, 1e-12))
    return Difference(float(largest), float(cosines.min()), float(cosines.mean()))


def _rows(vectors: Representation, start: int) -> Representation:
    return Representation(*(None if view is None else view[start:] for view in vectors))


def _ranking(sample: Sample, scores: Sequence[np.ndarray], margin: float) -> Ranking:
    ids, values = sample.corpus.ids.take(sample.numbers), []
    for of_one in scores:
        best = np.argsort(-of_one, axis=1, kind="stable")[:, :10]
        run = {
            query.id: {ids[place]: float(row[place]) for place in places}
            for query, row, places in zip(sample.queries, of_one, best, strict=True)
        }
        values.append(compute_measures(run, sample.judgments, ["nDCG@10"])["nDCG@10"])
    difference = estimate([values[1]], [values[0]])
    model, export = (float(one.mean()) for one in values)
    is_equivalent = difference.p_equivalent(margin) < _LEVEL
    return Ranking(len(sample.queries), len(ids), model, export, difference.interval(), is_equivalent)


def _failures(differences: dict[str, Difference], ranking: Ranking | None, bounds: Bounds) -> list[str]:
    failures = list[str]()
    for name, one in differences.items():
        if not one.largest <= bounds.difference:
            failures.append(f"{name}: the largest difference is {one.largest:.2g}, above {bounds.difference:g}")
        if not one.lowest_cosine >= bounds.cosine:
            failures.append(f"{name}: the lowest cosine is {one.lowest_cosine:.6f}, below {bounds.cosine:g}")
    if ranking and not ranking.is_equivalent:
        low, high = ranking.difference[1:]
        failures.append(
            f"nDCG@10 is {ranking.export:.4f} instead of {ranking.model:.4f}, with a difference of {low:+.4f} to "
            f"{high:+.4f}: not equivalent within {bounds.margin:g}"
        )
    return failures


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

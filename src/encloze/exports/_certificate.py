"""Certificate of an exported encoder: its vectors, ranking, size and latency, compared with those of the model."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.data.records import Representation, Run
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError
from encloze.evaluation.latency import latencies
from encloze.execution.encodings import read_representation
from encloze.exports._report import Difference, ExportReport, Ranking, compare_rankings
from encloze.exports._samples import LONG, TEXTS, Sample
from encloze.exports.base import ExportFormat
from encloze.storage.cache import temporary_folder
from encloze.storage.model_folders import size_of_weights

_SIMILARITY = 1e-4  # of the same vectors; they differ by rounding alone


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
    queries, documents = [*TEXTS, *LONG], [*TEXTS, *LONG]
    if sample:
        queries += [query.text for query in sample.queries]
        documents += list(sample.corpus.texts(sample.numbers))
    timed = [query.text for query in sample.queries] if sample else [text for text in TEXTS if len(text) > 5]
    progress.note(f"Encoding {len(queries) + len(documents):,} texts with the export and with the model")
    with temporary_folder() as temporary:
        task = {"queries": queries, "documents": documents, "timed": timed}
        result = reload_export(format_, folder, "encoder", task, temporary)
        found = read_representation(temporary / "queries.npz"), read_representation(temporary / "documents.npz")
        scores = np.load(temporary / "scores.npy", allow_pickle=False)
    with progress.use_listener(progress.SilentListener()):  # texts that are longer than the limit are meant to be
        parts = list(exact.represent_documents(documents, len(documents)))
        expected = exact.represent_queries(queries), Representation.concatenate(parts)
    differences = compare_vectors(expected, found)
    failures = [failure for name, one in differences.items() for failure in one.failures(name, format_.bounds)]
    failures += compare_similarities(exact.similarity(*found), scores)
    ranking = None
    if sample:
        ranking = _ranking(sample, exact, [expected, found], format_.bounds.margin)
        failures += ranking.failures(format_.bounds.margin)
    return ExportReport(
        model=exact.name,
        format=format_.summary(),
        compared=f"{len(queries) + len(documents):,} texts",
        differences=differences,
        bounds=format_.bounds,
        ranking=ranking,
        bytes={"model": size_of_weights(model_folder), "export": size_of_weights(folder)},
        milliseconds={
            "model": latencies(lambda query: encoder.represent_queries([query]), timed),
            "export": result["milliseconds"],
        },
        timed="queries encoded one by one, 100",
        needs_torch=result["torch"],
        machine=machine(),
        failures=tuple(failures),
    )


def reload_export(
    format_: ExportFormat, folder: Path, kind: str, task: dict[str, Any], temporary: Path
) -> dict[str, Any]:
    """Load an export in a new process, which computes what a task names (see ``encloze.exports._reload``).

    Args:
        format_: The format of the export.
        folder: The exported folder.
        kind: What was exported: ``encoder`` or ``reranker``.
        task: Texts or pairs, and what is timed, as JSON values.
        temporary: Folder to which the process writes vectors or scores.

    Returns:
        The latency (``milliseconds``) and whether torch was loaded (``torch``).

    Raises:
        CheckpointError: The export cannot be loaded.
    """
    with progress.task("Checking the export", 1, "exports") as bar:
        whole = {"folder": str(folder), "backend": format_.backend, "kind": kind, "output": str(temporary), **task}
        (temporary / "task.json").write_text(json.dumps(whole), encoding="utf-8")
        command = [sys.executable, "-m", "encloze.exports._reload", str(temporary / "task.json")]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip().rpartition("\n")[2]
            raise CheckpointError(f"the export cannot be loaded again: {reason}")
        bar.advance(1)
        result: dict[str, Any] = json.loads((temporary / "result.json").read_text(encoding="utf-8"))
        return result


def machine() -> dict[str, Any]:
    """Return processor, number of threads and operating system of this machine."""
    return {"processor": processor(), "threads": os.cpu_count(), "system": platform.platform()}


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def compare_vectors(expected: Sequence[Representation], found: Sequence[Representation]) -> dict[str, Difference]:
    """Compare the vectors of an export with those of the model.

    Args:
        expected: Representations of the queries and of the documents by the model.
        found: Those by the export.

    Returns:
        The differences, by names such as ``dense, queries``.
    """
    return {
        f"{kind}, {name}": _difference(getattr(one, kind), getattr(other, kind))
        for kind in ("dense", "sparse")
        for name, one, other in zip(("queries", "documents"), expected, found, strict=True)
        if getattr(one, kind) is not None
    }


def compare_similarities(expected: np.ndarray, found: np.ndarray) -> list[str]:
    """Return a message if two similarity functions give the same vectors different scores (queries x documents)."""
    largest = float(np.abs(expected - found).max()) / max(float(np.abs(expected).max()), 1e-12)
    return [] if largest <= _SIMILARITY else [f"the similarity function: scores differ by up to {largest:.2g}"]


def _difference(expected: Any, found: Any) -> Difference:
    if found is None or expected.shape != found.shape:
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


def _ranking(
    sample: Sample, encoder: Encoder, vectors: list[tuple[Representation, Representation]], margin: float
) -> Ranking:
    """Compare the rankings by the vectors of the queries and documents of a model, and by those of its export."""
    skipped = len(TEXTS) + len(LONG)
    scores = [encoder.similarity(*(_rows(of_side, skipped) for of_side in pair)) for pair in vectors]
    runs = [_run(sample, of_one) for of_one in scores]
    return compare_rankings(runs[0], runs[1], sample.judgments, len(sample.numbers), margin)


def _run(sample: Sample, scores: np.ndarray) -> Run:
    """Return the ten best documents of each query of a sample; ``scores`` is queries x documents."""
    ids = sample.corpus.ids.take(sample.numbers)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return {
        query.id: {ids[place]: float(row[place]) for place in places}
        for query, row, places in zip(sample.queries, scores, best, strict=True)
    }

"""Certificate of an exported re-ranker: its scores, ranking, size and latency, compared with those of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from encloze import progress
from encloze.data.records import Run
from encloze.encoders.base import Scorer
from encloze.evaluation.latency import latencies
from encloze.exports._certificate import machine, reload_export
from encloze.exports._report import ExportReport, ScoreDifference, compare_rankings
from encloze.exports._samples import LONG, TEXTS, Sample
from encloze.exports.base import ExportFormat
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.cache import temporary_folder
from encloze.storage.model_folders import size_of_weights

_SHIFTS = (0, 1, 4)
_CANDIDATES = 20
_TIMED_DOCUMENTS, _TIMED_QUERIES = 10, 30  # a larger re-ranker needs seconds for one query

Pairs = list[tuple[str, str]]
Candidates = dict[str, dict[str, tuple[str, str]]]
"""The query and the text of each candidate document, by the ids of queries and documents."""


def certify_reranker(
    reranker: Scorer,
    exact: Scorer,
    format_: ExportFormat,
    folder: Path,
    model_folder: Path,
    sample: Sample | None,
) -> ExportReport:
    """Load the export of a re-ranker in a new process, and compare it with the model.

    Args:
        reranker: The model as it is usually used, for the latency.
        exact: The model in float32, for the scores.
        format_: The format of the export.
        folder: The exported folder.
        model_folder: The folder of the model, for its size.
        sample: Judged queries and documents. The documents that BM25 ranks first for each query are re-ranked by both.
            None: only pairs of texts that cover special cases are compared.
    """
    special = special_pairs()
    candidates = _bm25_candidates(sample) if sample else {}
    pairs = special + [pair for of_query in candidates.values() for pair in of_query.values()]
    timed = [list(of_query.values())[:_TIMED_DOCUMENTS] for of_query in candidates.values() if of_query]
    timed = timed or [special[:_TIMED_DOCUMENTS]]
    progress.note(f"Scoring {len(pairs):,} pairs with the export and with the model")
    with temporary_folder() as temporary:
        task = {"pairs": pairs, "timed": timed, "count": _TIMED_QUERIES}
        result = reload_export(format_, folder, "reranker", task, temporary)
        found = np.load(temporary / "scores.npy", allow_pickle=False)
    with progress.use_listener(progress.SilentListener()):
        expected = exact.score(pairs)
    parts = {"special texts": slice(0, len(special)), "data set": slice(len(special), len(pairs))}
    differences = {
        name: score_difference(expected[rows], found[rows]) for name, rows in parts.items() if len(expected[rows])
    }
    bounds = format_.score_bounds
    failures = [failure for name, one in differences.items() for failure in one.failures(name, bounds)]
    ranking = None
    if sample:
        runs = [_run(candidates, scores[len(special) :]) for scores in (expected, found)]
        ranking = compare_rankings(runs[0], runs[1], sample.judgments, len(sample.numbers), bounds.margin)
        failures += ranking.failures(bounds.margin)
    return ExportReport(
        model=exact.name,
        format=format_.summary(),
        compared=f"{len(pairs):,} pairs",
        differences=differences,
        bounds=bounds,
        ranking=ranking,
        bytes={"model": size_of_weights(model_folder), "export": size_of_weights(folder)},
        milliseconds={
            "model": latencies(reranker.score, timed, _TIMED_QUERIES),
            "export": result["milliseconds"],
        },
        timed=f"queries with up to {_TIMED_DOCUMENTS} documents, {_TIMED_QUERIES}",
        needs_torch=result["torch"],
        machine=machine(),
        failures=tuple(failures),
    )


def special_pairs() -> Pairs:
    """Return pairs of texts that cover special cases: equal, empty, in other scripts, one or both above the limit."""
    texts = [*TEXTS, *LONG]
    return [(text, texts[(place + shift) % len(texts)]) for shift in _SHIFTS for place, text in enumerate(texts)]


def score_difference(expected: np.ndarray, found: np.ndarray) -> ScoreDifference:
    """Compare scores.

    Args:
        expected: Scores of the model, float32, one per pair.
        found: Scores of the export.
    """
    if expected.shape != found.shape:
        return ScoreDifference(float("inf"), -1.0)
    model, export = expected.astype(np.float64), found.astype(np.float64)
    # Rounding errors come from hidden states, which are not smaller if all logits or probabilities are close to 0.
    scale = max(1.0, float(np.abs(model).max()))
    largest = float(np.abs(model - export).max()) / scale
    if np.ptp(model) <= np.finfo(np.float32).eps * scale:
        return ScoreDifference(largest, 1.0)
    centered = [scores - scores.mean() for scores in (model, export)]
    norms = [float(np.linalg.norm(scores)) for scores in centered]
    return ScoreDifference(largest, float(centered[0] @ centered[1]) / max(norms[0] * norms[1], 1e-30))


def _bm25_candidates(sample: Sample) -> Candidates:
    """Return the documents of a sample that BM25 ranks first for each query."""
    texts, ids = list(sample.corpus.texts(sample.numbers)), sample.corpus.ids.take(sample.numbers)
    with temporary_folder() as folder, progress.use_listener(progress.SilentListener()):
        index = Bm25()
        index.build(texts, folder)
        results = index.open(folder).search([query.text for query in sample.queries], _CANDIDATES)
        return {
            query.id: {ids[place]: (query.text, texts[place]) for place in places if place >= 0}
            for query, places in zip(sample.queries, results.numbers, strict=True)
        }


def _run(candidates: Candidates, scores: np.ndarray) -> Run:
    """Return the scores of the candidates (float32, one per candidate, query by query) as a run."""
    values = iter(scores.tolist())
    return {query: {document: next(values) for document in of_query} for query, of_query in candidates.items()}

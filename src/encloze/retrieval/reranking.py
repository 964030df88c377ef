"""Re-ranking of the top-ranked documents of a run by a cross-encoder or bi-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.records import Judgments, Run
from encloze.data.runs import top_documents
from encloze.encoders.base import Scorer
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import compute_measures
from encloze.intervals import Interval
from encloze.search.fusions.weighted import Weighted

MAX_TUNING_QUERIES = 200
"""Maximum number of queries on which the weight of a re-ranker is tuned, because re-ranking them is slow."""
_WEIGHTS = tuple(round(step / 20, 2) for step in range(21))
_TIE = 1e-6


class RerankerTuning(NamedTuple):
    """Weight of a re-ranker that was tuned on judged queries."""

    weight: float
    """Weight of the re-ranker's scores, from 0 to 1."""
    gain: Interval
    """nDCG@10 of the re-ranked run minus that of the run before re-ranking, with the 95 % confidence interval."""


def score_top(run: Run, query_texts: Mapping[str, str], corpus: Corpus, reranker: Scorer, depth: int) -> Run:
    """Return the re-ranker's scores of the first ``depth`` documents of each query of a run.

    Args:
        run: The run whose documents are scored.
        query_texts: The text of each query of the run.
        corpus: The documents.
        reranker: Scores pairs of a query and a document.
        depth: Number of documents to score for each query.
    """
    first = {query: list(top_documents(scores, depth)) for query, scores in run.items()}
    pairs = [(query, document) for query, documents in first.items() for document in documents]
    texts = corpus.texts([corpus.number_of[document] for _, document in pairs])
    scores = reranker.score([(query_texts[query], text) for (query, _), text in zip(pairs, texts, strict=True)])
    scored: Run = {query: {} for query in run}
    for (query, document), score in zip(pairs, scores.tolist(), strict=True):
        scored[query][document] = score
    return scored


def rerank(run: Run, scored: Run, weight: float = 1.0) -> Run:
    """Return a run in which the scored documents of each query are re-ranked.

    With the weight 1, the scores of the re-ranker replace those of the run. With a lower weight, both are
    normalized over the scored documents of a query, and their weighted sum is used (see ``Weighted``). Documents that
    the re-ranker did not score keep their order and follow with lower scores.

    Args:
        run: The run to re-rank.
        scored: The re-ranker's scores, as ``score_top`` returns them.
        weight: Weight of the re-ranker's scores, from 0 to 1; the weight of the run's scores is 1 minus this.
    """
    reranked: Run = {}
    for query, ranking in run.items():
        documents = scored[query]
        if weight < 1 and documents:
            both = np.array([[ranking[document] for document in documents], [*documents.values()]], np.float64)
            fused = Weighted((1 - weight, weight)).fuse(both, np.ones_like(both))
            documents = dict(zip(documents, fused.tolist(), strict=True))
        lowest = min(documents.values(), default=0.0)
        rest = [document for document in top_documents(ranking, len(ranking)) if document not in documents]
        reranked[query] = documents | {document: lowest - position for position, document in enumerate(rest, 1)}
    return reranked


def tune_reranker(run: Run, scored: Run, judgments: Judgments) -> RerankerTuning:
    """Return the weight of a re-ranker with the highest nDCG@10 among 21 weights from 0 to 1.

    Of equally good weights, the one nearest to one half is returned.

    Args:
        run: The run to re-rank, over judged queries.
        scored: The re-ranker's scores, as ``score_top`` returns them.
        judgments: Grades of these queries.
    """
    values = {
        weight: compute_measures(rerank(run, scored, weight), judgments, ["nDCG@10"])["nDCG@10"]
        for weight in progress.track(_WEIGHTS, "Tuning the weight of the re-ranker", len(_WEIGHTS), "weights")
    }
    best = max(float(of_weight.mean()) for of_weight in values.values())
    tied: Sequence[float] = [weight for weight in _WEIGHTS if values[weight].mean() > best - _TIE]
    weight = min(tied, key=lambda weight: abs(weight - 0.5))
    return RerankerTuning(weight, estimate([values[weight]], [values[0.0]]).interval())

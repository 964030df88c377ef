"""Hits of queries: candidates ranked by their fused scores, and then by a re-ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.ids import DocumentIds
from encloze.data.records import Hit, Run
from encloze.data.runs import top_documents
from encloze.encoders.base import Reranker
from encloze.retrieval.candidates import CandidatePool, fused_order
from encloze.retrieval.diversity import diversify
from encloze.retrieval.explanations import Ranked, explanations_of
from encloze.retrieval.reranking import rerank, score_top
from encloze.retrieval.views import View
from encloze.search.fusions.base import Fusion

Aggregation = Literal["none", "max", "sum"]
_DIVERSIFIED = 100  # hits of which diverse ones are chosen


def hits_needed(k: int, aggregation: Aggregation, diversity: float) -> int | None:
    """Return of how many hits the ``k`` results of a query are chosen; None for all (see ``completed``)."""
    if aggregation != "none":
        return None
    return max(k, _DIVERSIFIED) if diversity else k


def hits_of(
    pool: CandidatePool, fusion: Fusion, ids: DocumentIds, views: Sequence[View], count: int | None = None
) -> tuple[list[Hit], dict[str, Ranked]]:
    """Return the hits of a query, best first, with the scores of each view if there are several.

    Also return the number, score and rank of the document of each hit, by its id.

    Args:
        pool: The candidates of the query.
        fusion: Combines the scores of the views.
        ids: The id of each document of the collection, by document number.
        views: The views.
        count: Number of hits; all candidates by default.
    """
    order, fused = fused_order(pool, fusion)
    order = order[:count]
    hits = zip(pool.numbers[order].tolist(), fused[order].tolist(), pool.scores.T[order].tolist(), strict=True)
    found, ranked, names = list[Hit](), dict[str, Ranked](), [view.name for view in views]
    for rank, ((number, score, parts), id_) in enumerate(zip(hits, ids.take(pool.numbers[order]), strict=True), 1):
        found.append(Hit(id_, score, dict(zip(names, parts, strict=True)) if len(names) > 1 else {}))
        ranked[id_] = Ranked(number, score, rank)
    return found, ranked


def reranked_hits(
    queries: Sequence[str],
    found: Sequence[Sequence[Hit]],
    corpus: Corpus,
    reranker: Reranker,
    depth: int,
    weight: float,
) -> list[list[Hit]]:
    """Return the re-ranked hits of each query. Their ``parts`` include the score before re-ranking.

    Args:
        queries: Texts of the queries.
        found: The hits of each query.
        corpus: The documents.
        reranker: The re-ranker.
        depth: Number of hits of each query that it scores.
        weight: Weight of its scores (see ``rerank``).
    """
    names = [str(number) for number in range(len(queries))]
    first: Run = {name: {hit.id: hit.score for hit in hits} for name, hits in zip(names, found, strict=True)}
    texts = dict(zip(names, queries, strict=True))
    of_reranker = score_top(first, texts, corpus, reranker, depth)
    run, reranked = rerank(first, of_reranker, weight), list[list[Hit]]()
    for name, hits in zip(names, found, strict=True):
        parts = {hit.id: {"found": hit.score, **hit.parts} for hit in hits}
        scores = top_documents(run[name], len(run[name]))
        if weight < 1:
            for id_, score in of_reranker[name].items():
                parts[id_] = {"reranker": score, **parts[id_]}
        if reranker.calibration:
            raw = of_reranker[name]
            probabilities = reranker.calibration(np.array([*raw.values()])).tolist()
            for id_, probability in zip(raw, probabilities, strict=True):
                parts[id_] = {"probability": probability, **parts[id_]}
        reranked.append([Hit(id_, score, parts[id_]) for id_, score in scores.items()])
    return reranked


def completed(
    hits: Sequence[Hit],
    ranked: Mapping[str, Ranked],
    corpus: Corpus,
    k: int,
    aggregation: Aggregation,
    diversity: float = 0.0,
) -> list[Hit]:
    """Return the ``k`` best hits of a query, or the best passages of its ``k`` best source texts, with their documents.

    Args:
        hits: The hits of the query, best first.
        ranked: The document of each hit, by its id.
        corpus: The documents. One without a source is its own source text.
        k: Number of hits.
        aggregation: With ``sum``, the score of a source text is the sum of the scores of its passages.
        diversity: Above 0, hits that repeat better ones are replaced by others of the 100 best (see ``diversify``).
    """
    if aggregation != "none":
        sources = corpus.sources_of(np.array([ranked[hit.id].number for hit in hits], np.int64))
        best, scores = dict[str, Hit](), dict[str, float]()
        for hit, source in zip(hits, sources, strict=True):
            best.setdefault(source, hit)
            scores[source] = scores.get(source, 0.0) + hit.score
        hits = list(best.values())
        if aggregation == "sum":
            order = sorted(scores, key=lambda source: -scores[source])
            hits = [best[source]._replace(score=scores[source]) for source in order]
    kept = hits[: hits_needed(k, "none", diversity)]
    documents = corpus.take(np.array([ranked[hit.id].number for hit in kept], np.int64))
    shown = [hit._replace(document=document) for hit, document in zip(kept, documents, strict=True)]
    return diversify(shown, k, diversity) if diversity else shown


def explained(
    hits: Sequence[Hit],
    query: str,
    views: Sequence[View],
    fusion: Fusion,
    pool: CandidatePool,
    ranked: Mapping[str, Ranked],
) -> list[Hit]:
    """Return hits, which have documents, with their explanations (see ``explanations_of``)."""
    places = [ranked[hit.id] for hit in hits]
    reasons = explanations_of(query, views, fusion, pool, places, [hit.text for hit in hits])
    return [hit._replace(explanation=reason) for hit, reason in zip(hits, reasons, strict=True)]

"""Hits of queries: candidates ranked by their fused scores, and then by a re-ranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.ids import DocumentIds
from encloze.data.records import Hit, Run
from encloze.data.runs import top_documents
from encloze.encoders.base import Reranker
from encloze.retrieval.candidates import CandidatePool, fused_order
from encloze.retrieval.explanations import Ranked
from encloze.retrieval.reranking import rerank, score_top
from encloze.search.fusions.base import Fusion


def hits_of(
    pool: CandidatePool, fusion: Fusion, ids: DocumentIds, names: Sequence[str]
) -> tuple[list[Hit], dict[str, Ranked]]:
    """Return the hits of a query, best first, with the scores of each view if there are several.

    Also return the number, score and rank of the document of each hit, by its id.

    Args:
        pool: The candidates of the query.
        fusion: Combines the scores of the views.
        ids: The id of each document of the collection, by document number.
        names: Names of the views.
    """
    order, fused = fused_order(pool, fusion)
    hits = zip(pool.numbers[order].tolist(), fused[order].tolist(), pool.scores.T[order].tolist(), strict=True)
    found, ranked = list[Hit](), dict[str, Ranked]()
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

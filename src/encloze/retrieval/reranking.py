"""Re-ranking of the top-ranked documents of a run by a cross-encoder or bi-encoder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.records import Run
from encloze.data.runs import top_documents
from encloze.encoders.base import Scorer
from encloze.evaluation.latency import stage
from encloze.search.fusions.weighted import Weighted


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
    with stage("reranker"):
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

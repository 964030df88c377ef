"""Re-ranking of the top-ranked documents of a run by a cross-encoder or bi-encoder."""

from __future__ import annotations

from collections.abc import Mapping

from encloze.data.corpus import Corpus
from encloze.data.records import Run
from encloze.data.runs import top_documents
from encloze.encoders.base import Scorer


def rerank(run: Run, query_texts: Mapping[str, str], corpus: Corpus, reranker: Scorer, depth: int) -> Run:
    """Return a run in which the first ``depth`` documents of each query are re-ranked.

    The documents after the first ``depth`` keep their order and have lower scores.

    Args:
        run: The run to re-rank.
        query_texts: The text of each query of the run.
        corpus: The documents.
        reranker: Model that scores pairs of a query text and a document text.
        depth: Number of documents to re-rank for each query.
    """
    first = {query: list(top_documents(scores, depth)) for query, scores in run.items()}
    pairs = [(query, document) for query, documents in first.items() for document in documents]
    texts = corpus.texts([corpus.number_of[document] for _, document in pairs])
    scores = reranker.score([(query_texts[query], text) for (query, _), text in zip(pairs, texts, strict=True)])
    reranked: Run = {query: {} for query in run}
    for (query, document), score in zip(pairs, scores.tolist(), strict=True):
        reranked[query][document] = score
    for query, documents in reranked.items():
        lowest = min(documents.values(), default=0.0)
        rest = [document for document in top_documents(run[query], len(run[query])) if document not in documents]
        documents.update({document: lowest - position for position, document in enumerate(rest, 1)})
    return reranked

"""Re-ranking: the first documents of a run scored again by a cross-encoder or bi-encoder."""

from __future__ import annotations

from collections.abc import Mapping

from encloze.data.corpus import Corpus
from encloze.data.records import Run
from encloze.data.runs import best
from encloze.encoders.base import Scorer


def rerank(run: Run, words: Mapping[str, str], corpus: Corpus, reranker: Scorer, depth: int) -> Run:
    """A run whose first ``depth`` documents of each query are scored anew by a re-ranker; the others come after them.

    ``words`` gives the text of each query.
    """
    first = {query: list(best(scores, depth)) for query, scores in run.items()}
    asked = [(query, document) for query, documents in first.items() for document in documents]
    texts = corpus.texts([corpus.number_of[document] for _, document in asked])
    scores = reranker.score([(words[query], text) for (query, _), text in zip(asked, texts, strict=True)])
    made: Run = {query: {} for query in run}
    for (query, document), score in zip(asked, scores.tolist(), strict=True):
        made[query][document] = score
    for query, found in made.items():
        lowest = min(found.values(), default=0.0)
        rest = [document for document in best(run[query], len(run[query])) if document not in found]
        found.update({document: lowest - place for place, document in enumerate(rest, 1)})
    return made

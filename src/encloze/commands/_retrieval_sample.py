"""Small retrieval tasks, on which a model is evaluated in about a minute."""

from __future__ import annotations

import numpy as np

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import sample_queries
from encloze.data.records import Judgments, Run, SearchResults
from encloze.encoders.base import Encoder
from encloze.evaluation.measures import compute_measures
from encloze.models.bi_encoder import BiEncoder
from encloze.retrieval.index_building import build_views
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.cache import temporary_folder

MEASURE = "nDCG@10"
_CUTOFF = 10
_HARD_NEGATIVES = 3


class RetrievalSample:
    """A small retrieval task from one split, to evaluate a model several times.

    The documents are the whole collection or, if it is larger than ``max_documents``, those relevant to the queries,
    the three best of BM25 for each query, and random ones up to ``max_documents`` in all. Scores are therefore higher
    than on the whole collection; the sample is meant for comparing models.

    Args:
        split: Documents, queries and judgments.
        seed: Seed of the random documents.
        max_queries: Maximum number of queries.
        max_documents: Number of documents above which a collection is sampled.
    """

    def __init__(self, split: DatasetSplit, seed: int, max_queries: int = 300, max_documents: int = 1000) -> None:
        corpus, number_of = split.corpus, split.corpus.number_of
        queries = sample_queries(split.queries, max_queries)
        self.name, self.queries = split.split, [query.text for query in queries]
        judgments = [split.judgments[query.id] for query in queries]
        positives = [d for grades in judgments for d, grade in grades.items() if grade > 0 and d in number_of]
        chosen = dict.fromkeys(number_of[document] for document in positives)
        if len(corpus) > max_documents:
            with temporary_folder() as folder, progress.task("Ranking with BM25", len(queries), "queries"):
                built = build_views(corpus, {"bm25": Bm25()}, None, folder)
                found = built["bm25"].open(folder / "bm25").search(self.queries, _HARD_NEGATIVES).numbers
            chosen |= dict.fromkeys(found[found >= 0].tolist())
        others = np.random.default_rng(seed).permutation(len(corpus)).tolist()
        numbers = list((chosen | dict.fromkeys(others)).keys())[: max(max_documents, len(chosen))]
        self.documents = list(corpus.texts(numbers))
        self._ids = [corpus.ids[number] for number in numbers]
        self._judgments: Judgments = {str(row): grades for row, grades in enumerate(judgments)}

    def evaluate(self, encoder: BiEncoder | Encoder) -> np.ndarray:
        """Return nDCG@10 for each query, float64 ``(queries,)``. The encoder is left in evaluation mode."""
        scores = encoder.similarity(encoder.encode_queries(self.queries), encoder.encode_documents(self.documents))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_CUTOFF]
        return self._measure(SearchResults(best, np.take_along_axis(scores, best, axis=1)))

    def evaluate_bm25(self) -> np.ndarray:
        """Return the nDCG@10 of BM25 for each query, float64 ``(queries,)``."""
        index = Bm25().with_defaults(lambda: self.documents)
        with temporary_folder() as folder:
            index.build(self.documents, folder)
            return self._measure(index.open(folder).search(self.queries, _CUTOFF))

    def _measure(self, results: SearchResults) -> np.ndarray:
        run: Run = {
            str(row): {self._ids[number]: float(score) for number, score in zip(*found, strict=True) if number >= 0}
            for row, found in enumerate(zip(*results, strict=True))
        }
        return compute_measures(run, self._judgments, [MEASURE])[MEASURE]

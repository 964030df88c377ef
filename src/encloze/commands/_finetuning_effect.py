"""Effect of fine-tuning: nDCG@10 of the initial and the fine-tuned model on queries that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import sample_queries
from encloze.data.records import Judgments, Run
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import compute_measures
from encloze.models.bi_encoder import BiEncoder
from encloze.models.device import resolve_device
from encloze.retrieval.index_folder import build_views
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.cache import temporary_folder

_MEASURE, _CUTOFF = "nDCG@10", 10
_MAX_QUERIES, _MAX_DOCUMENTS, _HARD_NEGATIVES = 300, 1000, 3


class RetrievalSample:
    """A small retrieval task from one split, to evaluate a model several times.

    It has at most 300 queries. The documents are the whole collection or, if it has more than 1,000 documents, those
    relevant to the queries, the three best of BM25 for each query, and random ones up to 1,000 in all. Scores are
    therefore higher than on the whole collection; the sample is meant for comparing models.

    Args:
        split: Documents, queries and judgments.
        seed: Seed of the random documents.
    """

    def __init__(self, split: DatasetSplit, seed: int) -> None:
        corpus, number_of = split.corpus, split.corpus.number_of
        queries = sample_queries(split.queries, _MAX_QUERIES)
        self.name, self.queries = split.split, [query.text for query in queries]
        judgments = [split.judgments[query.id] for query in queries]
        positives = [d for grades in judgments for d, grade in grades.items() if grade > 0 and d in number_of]
        chosen = dict.fromkeys(number_of[document] for document in positives)
        if len(corpus) > _MAX_DOCUMENTS:
            with temporary_folder() as folder, progress.task("Ranking with BM25", len(queries), "queries"):
                built = build_views(corpus, {"bm25": Bm25()}, None, folder)
                found = built["bm25"].open(folder / "bm25").search(self.queries, _HARD_NEGATIVES).numbers
            chosen |= dict.fromkeys(found[found >= 0].tolist())
        others = np.random.default_rng(seed).permutation(len(corpus)).tolist()
        numbers = list((chosen | dict.fromkeys(others)).keys())[: max(_MAX_DOCUMENTS, len(chosen))]
        self.documents = list(corpus.texts(numbers))
        self._ids = [corpus.ids[number] for number in numbers]
        self._judgments: Judgments = {str(row): grades for row, grades in enumerate(judgments)}

    def evaluate(self, encoder: BiEncoder) -> np.ndarray:
        """Return nDCG@10 for each query, float64 ``(queries,)``. The encoder is left in evaluation mode."""
        scores = encoder.similarity(encoder.encode_queries(self.queries), encoder.encode_documents(self.documents))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_CUTOFF]
        run: Run = {
            str(row): {self._ids[column]: float(scores[row, column]) for column in columns}
            for row, columns in enumerate(best.tolist())
        }
        return compute_measures(run, self._judgments, [_MEASURE])[_MEASURE]


@dataclass(frozen=True)
class Weights:
    """Weights of a bi-encoder at one moment, with its configuration."""

    state: dict[str, torch.Tensor]
    config: Any

    @classmethod
    def of(cls, encoder: BiEncoder) -> Weights:
        """Return a copy of the weights of an encoder."""
        return cls({name: value.detach().clone() for name, value in encoder.state_dict().items()}, encoder.config)

    def load_into(self, encoder: BiEncoder, result: Weights | None = None, weight: float = 0.0) -> None:
        """Set an encoder's weights to these; with ``result``, to ``weight`` x ``result`` + (1 - ``weight``) x these."""
        state = self.state
        if result is not None:
            state = {
                name: torch.lerp(value, result.state[name], weight) if value.is_floating_point() else value
                for name, value in state.items()
            }
        encoder.load_state_dict(state)
        encoder.config = self.config if result is None else result.config


class FinetuningEffect:
    """Compares a model before and after fine-tuning, and with merged models (averages of the weights of the two).

    Args:
        encoder: The model, before the first training step.
        split: Judged queries that are not trained on.
        merge_weights: For each merged model, the weight of the fine-tuned model in the average, between 0 and 1.
        keep_best: Whether the best of all evaluated models is kept in place of the fine-tuned one.
        seed: Seed of the sample of documents.
    """

    def __init__(
        self, encoder: BiEncoder, split: DatasetSplit, merge_weights: Sequence[float], *, keep_best: bool, seed: int
    ) -> None:
        self._sample, self._merge_weights, self._keep_best = RetrievalSample(split, seed), merge_weights, keep_best
        encoder.to(resolve_device(None))
        self._initial = Weights.of(encoder) if keep_best or merge_weights else None
        progress.note(f"Evaluating the initial model on {len(self._sample.queries)} queries of {split.split}")
        self._values = {"initial": self._sample.evaluate(encoder)}

    def finish(self, encoder: BiEncoder) -> dict[str, Any]:
        """Evaluate the fine-tuned and merged models, and load the weights to keep into ``encoder``.

        Returns:
            The comparison: the mean nDCG@10 of each model, its difference from the initial model with the 95 %
            interval, and the name of the kept model.
        """
        progress.note(f"Evaluating the fine-tuned model on {self._sample.name}")
        self._values["finetuned"] = self._sample.evaluate(encoder)
        if self._initial:
            result = Weights.of(encoder)
            for weight in self._merge_weights:
                self._initial.load_into(encoder, result, weight)
                self._values[f"merged {weight:g}"] = self._sample.evaluate(encoder)
            result.load_into(encoder)
        kept = max(self._values, key=lambda name: self._values[name].mean()) if self._keep_best else "finetuned"
        if self._initial and kept != "finetuned":
            merged = kept.removeprefix("merged ")
            self._initial.load_into(encoder, *((result, float(merged)) if merged != kept else ()))
        initial = self._values["initial"]
        return {
            "split": self._sample.name,
            "queries": len(self._sample.queries),
            "documents": len(self._sample.documents),
            "measure": _MEASURE,
            "means": {name: float(values.mean()) for name, values in self._values.items()},
            "differences": {
                name: _difference(values, initial) for name, values in self._values.items() if name != "initial"
            },
            "kept": kept,
        }


def _difference(values: np.ndarray, initial: np.ndarray) -> dict[str, float]:
    """Return the mean difference of two models over queries, its interval, and the smallest detectable difference."""
    difference = estimate([values], [initial])
    interval = difference.interval()
    detectable = difference.minimum_detectable_difference()
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "minimum_detectable": detectable}

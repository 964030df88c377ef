"""Choice of the threshold below which an index reports that it has no answer, from queries with and without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query
from encloze.errors import DataError, importable
from encloze.evaluation.answers import AnswerReport, error_curve, threshold_at
from encloze.intervals import Interval
from encloze.retrieval.answer_threshold import AnswerThreshold, answer_features
from encloze.retrieval.candidates import FUSION_DEPTH, find_candidates
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning_queries import queries_with_documents

_FOLDS = 5
_FEWEST = 20


class _Examples(NamedTuple):
    """Queries with and without an answer."""

    features: np.ndarray  # (examples, features)
    is_answered: np.ndarray  # bool, (examples,)
    groups: np.ndarray  # int64, (examples,): number of the query; examples of the same query are in the same fold

    def part(self, chosen: np.ndarray) -> _Examples:
        """Return some of the examples."""
        return _Examples(self.features[chosen], self.is_answered[chosen], self.groups[chosen])


def tune_answer_threshold(
    retriever: Retriever,
    judged: DatasetSplit,
    unanswerable: Sequence[Query] | None,
    origin: str,
    rate: float,
    seed: int = 0,
) -> tuple[AnswerThreshold, AnswerReport]:
    """Choose the threshold of an index, and measure on other queries what it does.

    Args:
        retriever: The opened index.
        judged: Queries with judgments. Those with a relevant document in the index have an answer.
        unanswerable: Queries without an answer. If None, the judged queries are searched a second time as if their
            relevant documents were not in the index; other documents that answer them make the measured rate of false
            answers too high.
        origin: Where the queries without an answer come from, for the report.
        rate: Wanted rate of false answers: share of the queries without an answer that count as answered.
        seed: Seed of the assignment of queries to folds.

    Raises:
        DataError: There are fewer than 20 queries with, or without, an answer.
        MissingExtraError: scikit-learn is not installed.
    """
    judged = queries_with_documents(judged.with_corpus(retriever.corpus))
    _check_queries(retriever, judged, unanswerable)
    names = [view.name for view in retriever.views]
    examples = _examples(retriever, judged, unanswerable, names)
    fold_of = np.random.default_rng(seed).permutation(int(examples.groups.max()) + 1)[examples.groups] % _FOLDS
    probabilities, decided = np.empty(len(fold_of)), np.empty(len(fold_of), np.bool_)
    for fold in range(_FOLDS):
        inside = fold_of == fold
        fitted = _fit(examples.part(~inside), names, rate)
        probabilities[inside] = fitted.probabilities(examples.features[inside])
        decided[inside] = probabilities[inside] >= fitted.threshold
    final, positive = _fit(examples, names, rate), examples.is_answered
    areas = {"all": _area(probabilities, positive)}
    areas |= {name: _area(examples.features[:, 2 * place], positive) for place, name in enumerate(names)}
    report = AnswerReport(
        index=str(retriever.folder),
        unanswerable=origin,
        answered=int(positive.sum()),
        unanswered=int((~positive).sum()),
        wanted_rate=rate,
        threshold=final.threshold,
        false_answers=_share(decided[~positive]),
        missed_answers=_share(~decided[positive]),
        areas=areas,
        curve=error_curve(probabilities[positive], probabilities[~positive]),
    )
    return final, report


def _check_queries(retriever: Retriever, judged: DatasetSplit, unanswerable: Sequence[Query] | None) -> None:
    """Raise DataError if there are too few queries with, or without, an answer, or if some are of both kinds."""
    if not judged.queries:
        raise DataError(
            f"no query of the split {judged.split!r} has a relevant document in the index {retriever.folder}. "
            "Judgments need the ids of its documents; those of texts that it contains only passages of cannot be used"
        )
    answered = {query.text for query in judged.queries}
    if wrong := [query.id for query in unanswerable or () if query.text in answered]:
        raise DataError(
            f"{len(wrong):,} of the {len(unanswerable or ()):,} queries without an answer have relevant documents in "
            f"the split {judged.split!r}, such as {wrong[0]}. Give queries that the index does not answer"
        )
    for kind, count in (("with", len(judged.queries)), ("without", len(unanswerable or judged.queries))):
        if count < _FEWEST:
            raise DataError(f"there are {count} queries {kind} an answer, and {_FEWEST} are needed at least")


def _examples(
    retriever: Retriever, judged: DatasetSplit, unanswerable: Sequence[Query] | None, names: Sequence[str]
) -> _Examples:
    relevant = [_relevant_numbers(judged, query) for query in judged.queries]
    deepest = 0 if unanswerable else max(map(len, relevant))
    texts = [query.text for query in judged.queries]
    pools = find_candidates(retriever.views, texts, FUSION_DEPTH + deepest)
    features = [answer_features(pools, names, names)]
    groups = np.arange(len(pools))
    if unanswerable:
        others = find_candidates(retriever.views, [query.text for query in unanswerable])
        features.append(answer_features(others, names, names))
        groups = np.arange(len(pools) + len(others))
    else:
        features.append(answer_features(pools, names, names, relevant))
        groups = np.concatenate([groups, groups])
    is_answered = np.arange(len(groups)) < len(pools)
    return _Examples(np.concatenate(features), is_answered, groups)


def _relevant_numbers(judged: DatasetSplit, query: Query) -> np.ndarray:
    """Return the numbers of the relevant documents of a query."""
    known, grades = judged.corpus.number_of, judged.judgments[query.id]
    return np.array([known[id_] for id_, grade in grades.items() if grade > 0 and id_ in known])


def _fit(examples: _Examples, names: Sequence[str], rate: float) -> AnswerThreshold:
    """Return a logistic function that is fitted to examples, with its threshold at a rate of false answers."""
    mean, scale = examples.features.mean(axis=0), examples.features.std(axis=0)
    scale[scale == 0] = 1.0
    regression: Any = importable("sklearn.linear_model", "train").LogisticRegression(max_iter=1000)
    regression.fit((examples.features - mean) / scale, examples.is_answered)
    weights = regression.coef_[0] / scale
    intercept = float(regression.intercept_[0] - mean @ weights)
    fitted = AnswerThreshold(tuple(names), tuple(weights.tolist()), intercept, 0.5)
    probabilities, positive = fitted.probabilities(examples.features), examples.is_answered
    return replace(fitted, threshold=threshold_at(probabilities[positive], probabilities[~positive], rate))


def _area(values: np.ndarray, is_answered: np.ndarray) -> float:
    return float(importable("sklearn.metrics", "train").roc_auc_score(is_answered, values))


def _share(events: np.ndarray) -> Interval:
    """Return the share of events, with its 95 % Wilson interval."""
    from scipy.stats import binomtest

    bounds = binomtest(int(events.sum()), len(events)).proportion_ci(method="wilson")
    return Interval(float(events.mean()), float(bounds.low), float(bounds.high))

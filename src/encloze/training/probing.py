"""A linear probe: logistic regression on features that stay as they are, with its penalty chosen on other texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from encloze import progress
from encloze.errors import DataError

_FOLDS = 5
_ITERATIONS = 500


class Rows(NamedTuple):
    """What has labels, as numbers."""

    features: np.ndarray  # float32, rows x width
    codes: np.ndarray  # int64, rows: numbers of labels, -1 for those that cannot be learnt
    texts: np.ndarray  # int64, rows: the number of the text that each is of

    def where(self, kept: np.ndarray) -> Rows:
        return Rows(self.features[kept], self.codes[kept], self.texts[kept])


class Probed(NamedTuple):
    """A probe that has learnt, and how its penalty was chosen."""

    model: Any
    note: str


def probe(train: Rows, dev: Rows | None, penalties: Sequence[float], seed: int) -> Probed:
    """Learn from ``train`` with the penalty that has the best macro F1 on ``dev``, or else in cross-validation.

    Of equally good penalties the largest is taken. Raises DataError where train is too small for that.
    """
    order = sorted(set(penalties), reverse=True)
    if len(order) == 1:
        return Probed(_fit(train, order[0]), f"penalty {order[0]:g}")
    if dev is None and len(np.unique(train.texts)) < 2:
        raise DataError("train has one text alone: too few to choose a penalty with. Give a dev part, or one penalty")
    pairs = [(train, dev)] if dev is not None else list(_folds(train, seed))
    scores, models = list[float](), list[Any]()
    for penalty in progress.track(order, "Choosing the penalty", len(order), "penalties"):
        true, guessed = list[np.ndarray](), list[np.ndarray]()
        for learnt, other in pairs:
            models.append(_fit(learnt, penalty))
            true.append(other.codes)
            guessed.append(models[-1].predict(other.features))
        scores.append(float(f1_score(np.concatenate(true), np.concatenate(guessed), average="macro", zero_division=0)))
    best = int(np.argmax(scores))
    where = "on dev" if dev is not None else f"by cross-validation in {len(pairs)} parts of train"
    others = ", ".join(f"{penalty:g}" for penalty in sorted(order))
    note = f"penalty {order[best]:g} of {others}, chosen {where} (macro F1 {scores[best]:.4f})"
    return Probed(models[best] if dev is not None else _fit(train, order[best]), note)


def _fit(rows: Rows, penalty: float) -> Any:
    if len(np.unique(rows.codes)) < 2:  # a part of train that lacks all labels but one
        return DummyClassifier(strategy="most_frequent").fit(rows.features, rows.codes)
    made = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=_ITERATIONS))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made.fit(rows.features, rows.codes)
    for warning in said:
        if issubclass(warning.category, ConvergenceWarning):
            progress.note(f"With penalty {penalty:g} the probe is not quite done after {_ITERATIONS} iterations")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return made


def _folds(rows: Rows, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Train cut by texts, each part once held out: what is learnt from, and the part."""
    texts = np.unique(rows.texts)
    for _, held in KFold(min(_FOLDS, len(texts)), shuffle=True, random_state=seed).split(texts):
        out = np.isin(rows.texts, texts[held])
        yield rows.where(~out), rows.where(out)

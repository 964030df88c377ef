"""Linear probes and nearest-neighbor classifiers on the features of a frozen encoder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from encloze import progress
from encloze.data.labeled import LabeledDataset
from encloze.errors import DataError
from encloze.models.classifier_inputs import warn_truncated
from encloze.models.frozen import FrozenEncoder
from encloze.text.labeled import encode_labeled

_FOLDS = 5


class LabeledFeatures(NamedTuple):
    """Features and labels, with one row for each text or, if words are labeled, for each word.

    The features of a row are NaN if truncation left no token of the text or word.
    """

    features: np.ndarray
    """Features of each text or word, float32 ``(rows, dim)``."""
    label_ids: np.ndarray
    """Label id of each row, int64 ``(rows,)``; -1 for labels that do not occur in the split train."""
    texts: np.ndarray
    """Index of the text of each row, int64 ``(rows,)``."""

    def select(self, mask: np.ndarray) -> LabeledFeatures:
        """Return the rows for which ``mask`` (bool, ``(rows,)``) is true."""
        return LabeledFeatures(self.features[mask], self.label_ids[mask], self.texts[mask])

    @property
    def has_features(self) -> np.ndarray:
        """Whether each row has features, bool ``(rows,)``."""
        return np.asarray(~np.isnan(self.features[:, 0]))

    @property
    def usable(self) -> LabeledFeatures:
        """The rows that have features and a label that occurs in the split train."""
        return self.select((self.label_ids >= 0) & self.has_features)


class ProbeResult(NamedTuple):
    """A fitted classifier, and a note that describes how its hyperparameters were selected."""

    model: Any
    note: str

    def predict(self, rows: LabeledFeatures) -> np.ndarray:
        """Return the predicted label id of each row, int64 ``(rows,)``; -1 for rows without features."""
        label_ids = np.full(len(rows.label_ids), -1)
        if rows.has_features.any():
            label_ids[rows.has_features] = self.model.predict(rows.features[rows.has_features])
        return label_ids


def extract_features(data: LabeledDataset, encoder: FrozenEncoder) -> dict[str, LabeledFeatures]:
    """Return the features and labels of all splits of a labeled data set.

    Args:
        data: Labeled texts or words.
        encoder: The encoder; it is not trained.

    Returns:
        Features and labels by split.

    Raises:
        DataError: No text or word of the split train has features.
    """
    splits = dict[str, LabeledFeatures]()
    for name, examples in data.splits.items():
        texts = encode_labeled(examples, encoder.tokenizer)
        warn_truncated(texts, encoder.tokenizer, encoder.max_tokens, name, data.truncated_label)
        indices = np.repeat(np.arange(len(texts)), [text.num_labels for text in texts])
        label_ids = np.concatenate(data.label_ids(name))
        splits[name] = LabeledFeatures(encoder.cached_features(examples, texts, name), label_ids, indices)
    if not len(splits["train"].usable.label_ids):
        raise DataError(
            f"{data.path}: after truncation by {encoder.name}, none of the {data.labeled_unit} of the split train has "
            "a token. Choose another model, or raise max_tokens"
        )
    return splits


def linear_probe(
    splits: dict[str, LabeledFeatures],
    evaluated_split: str,
    penalties: Sequence[float],
    seed: int,
    max_iterations: int = 500,
) -> ProbeResult:
    """Fit a logistic regression on the split train.

    The L2 penalty is selected by macro F1: on the split dev if it exists and is not the evaluated split, otherwise by
    cross-validation on train. Among equally good penalties, the largest is selected.

    Args:
        splits: Features and labels by split.
        evaluated_split: Name of the split that the probe will be evaluated on.
        penalties: L2 penalties to select from (1 / C of scikit-learn).
        seed: Seed of the division into cross-validation folds.
        max_iterations: Maximum number of iterations of the optimizer. If it stops there without convergence, a progress
            note reports it.

    Raises:
        DataError: The split train has a single text, so no penalty can be selected by cross-validation.
    """
    train = splits["train"].usable
    dev = splits["dev"].usable if "dev" in splits and evaluated_split != "dev" else None
    if dev is not None and not len(dev.label_ids):
        dev = None

    def fit(rows: LabeledFeatures, penalty: float) -> Any:
        return _fit(rows, penalty, max_iterations)

    return _select_penalty(fit, train, dev, sorted(set(penalties), reverse=True), seed)


def nearest_neighbors(splits: dict[str, LabeledFeatures], neighbors: int) -> ProbeResult:
    """Fit a k-nearest-neighbor classifier with cosine similarity and majority vote on the split train.

    Ties are broken by label name. Nothing is trained, so the result depends only on the features.

    Args:
        splits: Features and labels by split.
        neighbors: Number of neighbors.

    Raises:
        DataError: The split train has fewer than ``neighbors`` rows with features and a label.
    """
    train = splits["train"].usable
    if len(train.label_ids) < neighbors:
        raise DataError(
            f"the split train has {len(train.label_ids)} usable labels, fewer than the {neighbors} neighbors. "
            "Lower --neighbors"
        )
    model = KNeighborsClassifier(neighbors, metric="cosine").fit(train.features, train.label_ids)
    return ProbeResult(model, f"majority vote of the {neighbors} nearest neighbors by cosine similarity")


def _select_penalty(
    fit: Callable[[LabeledFeatures, float], Any],
    train: LabeledFeatures,
    dev: LabeledFeatures | None,
    penalties: list[float],
    seed: int,
) -> ProbeResult:
    """Fit a linear probe with each penalty, and return the one with the highest macro F1.

    F1 is measured on ``dev`` or, if ``dev`` is None, by cross-validation on ``train``. ``penalties`` must be in
    descending order, because the first of several penalties with the same F1 is selected. If there is only one
    penalty, F1 is not measured.
    """
    if len(penalties) == 1:
        return ProbeResult(fit(train, penalties[0]), f"penalty {penalties[0]:g}")
    if dev is None and len(np.unique(train.texts)) < 2:
        raise DataError(
            "the split train has a single text, so the penalty cannot be selected. Add a split dev, or set --penalties "
            "to one number"
        )
    folds = [(train, dev)] if dev is not None else list(_folds(train, seed))
    scores, models = list[float](), list[Any]()
    for penalty in progress.track(penalties, "Selecting the penalty", len(penalties), "penalties"):
        labels, predictions = list[np.ndarray](), list[np.ndarray]()
        for fitted, evaluated in folds:
            models.append(fit(fitted, penalty))
            labels.append(evaluated.label_ids)
            predictions.append(models[-1].predict(evaluated.features))
        f1 = f1_score(np.concatenate(labels), np.concatenate(predictions), average="macro", zero_division=0)
        scores.append(float(f1))
    best = int(np.argmax(scores))
    method = "on dev" if dev is not None else f"by {len(folds)}-fold cross-validation on train"
    candidates = ", ".join(f"{penalty:g}" for penalty in sorted(penalties))
    note = f"penalty {penalties[best]:g} of {candidates}, selected {method} (macro F1 {scores[best]:.4f})"
    return ProbeResult(models[best] if dev is not None else fit(train, penalties[best]), note)


def _fit(rows: LabeledFeatures, penalty: float, max_iterations: int) -> Any:
    if len(np.unique(rows.label_ids)) < 2:  # a fold may contain a single label
        return DummyClassifier(strategy="most_frequent").fit(rows.features, rows.label_ids)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=max_iterations))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(rows.features, rows.label_ids)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            progress.note(f"With penalty {penalty:g} the probe did not converge in {max_iterations} iterations")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return model


def _folds(rows: LabeledFeatures, seed: int) -> Iterator[tuple[LabeledFeatures, LabeledFeatures]]:
    """Yield (training rows, evaluated rows) for each fold; all words of a text are in the same fold."""
    texts = np.unique(rows.texts)
    for _, evaluated in KFold(min(_FOLDS, len(texts)), shuffle=True, random_state=seed).split(texts):
        is_evaluated = np.isin(rows.texts, texts[evaluated])
        yield rows.select(~is_evaluated), rows.select(is_evaluated)

"""What a frozen encoder's features say of labels, read off by a linear probe or by the labels of the nearest."""

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
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from encloze import progress
from encloze.data.labelled import LabelledSet
from encloze.errors import DataError
from encloze.models.frozen import FrozenEncoder
from encloze.models.reading import say_cut
from encloze.text.words import encode_marked

_FOLDS = 5
_ITERATIONS = 500


class Rows(NamedTuple):
    """What has labels, as numbers."""

    features: np.ndarray  # float32, rows x width
    codes: np.ndarray  # int64, rows: numbers of labels, -1 for those that cannot be learnt
    texts: np.ndarray  # int64, rows: the number of the text that each is of

    def where(self, kept: np.ndarray) -> Rows:
        return Rows(self.features[kept], self.codes[kept], self.texts[kept])

    @property
    def seen(self) -> np.ndarray:
        """Which of them the encoder saw: bool."""
        return np.asarray(~np.isnan(self.features[:, 0]))

    @property
    def learnable(self) -> Rows:
        return self.where((self.codes >= 0) & self.seen)


class Probed(NamedTuple):
    """A model that has learnt labels, and how it was chosen."""

    model: Any
    note: str

    def guess(self, rows: Rows) -> np.ndarray:
        """The numbers of the labels: int64, rows; -1 where nothing was seen."""
        codes = np.full(len(rows.codes), -1)
        if rows.seen.any():
            codes[rows.seen] = self.model.predict(rows.features[rows.seen])
        return codes


def labelled_rows(data: LabelledSet, encoder: FrozenEncoder) -> dict[str, Rows]:
    """The features of every part of a labelled set. Raises DataError where nothing of train was seen."""
    found = dict[str, Rows]()
    for name, part in data.parts.items():
        texts = encode_marked(part, encoder.tokenizer)
        say_cut(texts, encoder.max_tokens, name, data.unseen)
        numbers = np.repeat(np.arange(len(texts)), [marked.labels for marked in texts])
        found[name] = Rows(encoder.features(part, texts, name), np.concatenate(data.codes(name)), numbers)
    if not len(found["train"].learnable.codes):
        raise DataError(f"{data.place}: {encoder.name} sees nothing of any of the {data.unit} of train")
    return found


def linear(rows: dict[str, Rows], split: str, penalties: Sequence[float], seed: int) -> Probed:
    """The probe that learns from train, its penalty chosen on dev where there is one and another part is judged."""
    dev = rows["dev"].learnable if "dev" in rows and split != "dev" else None
    return probe(rows["train"].learnable, dev if dev is not None and len(dev.codes) else None, penalties, seed)


def nearest(rows: dict[str, Rows], neighbours: int) -> Probed:
    """The commonest label of so many nearest rows of train by cosine; of equally common ones the first by name.

    Nothing is learnt that the features do not say themselves. Raises DataError where train has too few.
    """
    train = rows["train"].learnable
    if len(train.codes) < neighbours:
        raise DataError(
            f"train has {len(train.codes)} labels that can be learnt from, and the nearest {neighbours} are asked. "
            f"Lower --neighbours"
        )
    made = KNeighborsClassifier(neighbours, metric="cosine").fit(train.features, train.codes)
    return Probed(made, f"the commonest label of the {neighbours} nearest by cosine")


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

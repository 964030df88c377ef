"""What search needs of an encoder: texts in, representations out; no torch until one is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

import numpy as np

from encloze.calibration import Calibration
from encloze.data.records import Representation
from encloze.errors import importable
from encloze.similarity import Similarity


class Encoder(Protocol):
    """A model that makes representations of queries and documents."""

    @property
    def name(self) -> str:
        """Where it came from: a folder, a hub's id, minilm."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes a representation."""
        ...

    @property
    def arithmetic(self) -> str:
        """How its products are taken here, as float32 on cpu: a representation's last digits differ with it."""
        ...

    @property
    def views(self) -> dict[str, int]:
        """The views it makes of a text, dense and sparse, and how wide each is."""
        ...

    @property
    def similarity(self) -> Similarity:
        """How its representations are scored."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Representation:
        """The representations of queries, in order."""
        ...

    def documents_in_parts(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        """The representations of ``count`` documents, in order, some thousands at a time."""
        ...


class Scorer(Protocol):
    """A model that scores pairs of a query and a document."""

    @property
    def name(self) -> str:
        """Where it came from: a folder or a hub's id."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """The score of each query and document: float32, pairs."""
        ...


class Reranker(Scorer, Protocol):
    """A scorer that was trained to put documents in order."""

    @property
    def calibration(self) -> Calibration | None:
        """From its scores to probabilities, where that was learnt."""
        ...


def load_scorer(name: str, precision: str = "auto") -> Scorer:
    """The cross-encoder or bi-encoder of that name, whichever it is. Raises CheckpointError."""
    importable("torch", "train")
    importable("transformers", "train")
    module = importlib.import_module("encloze.models.cross_encoder")
    if module.is_cross_encoder(name):
        return cast(Scorer, module.CrossEncoder.load(name, precision=precision))
    return cast(Scorer, load_encoder(name, precision))


def load_reranker(name: str, precision: str = "auto") -> Reranker:
    """The cross-encoder in a model folder or of a hub's id. Raises CheckpointError, also where it is none."""
    importable("torch", "train")
    importable("transformers", "train")
    module = importlib.import_module("encloze.models.cross_encoder")
    return cast(Reranker, module.CrossEncoder.trained(name, precision=precision))


def load_encoder(name: str, precision: str = "auto") -> Encoder:
    """The bi-encoder in a model folder, of a hub's id, or ``minilm``. Raises CheckpointError."""
    importable("torch", "train")
    importable("transformers", "train")
    # By name, because models stand on a higher floor: search must be able to do without them.
    module = importlib.import_module("encloze.models.bi_encoder")
    return cast(Encoder, module.BiEncoder.load(name, precision=precision))

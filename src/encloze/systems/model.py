"""A bi-encoder with exact search over the data set's documents."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encloze.data.dataset import Dataset
from encloze.encoders import load_encoder
from encloze.errors import CheckpointError
from encloze.searcher import Searcher, View, exact_indexes
from encloze.systems.base import Outcome, System


@dataclass(frozen=True)
class Model(System, name="model"):
    """Every document is encoded and compared with every query."""

    model: str
    """A model folder, a hub's id, or minilm."""
    views: tuple[Literal["dense", "sparse"], ...] = ()
    """Which of its views to score by; by default their weighted sum."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder's products; auto takes bfloat16 where the processor is made for it."""

    def inputs(self) -> dict[str, Path | str]:
        return {"model": self.model}

    def label(self) -> str:
        return " ".join([Path(self.model).name, *self.views])

    def rank(self, dataset: Dataset, depth: int) -> Outcome:
        dataset.check_documents()
        encoder = load_encoder(self.model, self.precision)
        if missing := [view for view in self.views if view not in encoder.views]:
            raise CheckpointError(f"{self.model} makes no {missing[0]} view; it makes: {', '.join(encoder.views)}")
        representation = encoder.encode_documents(dataset.corpus.texts(), len(dataset.corpus))
        with tempfile.TemporaryDirectory() as folder:
            views = []
            for index in exact_indexes(encoder):
                if self.views and index.reads not in self.views:
                    continue
                (place := Path(folder) / index.name).mkdir()
                index.build(representation, place)
                views.append(View(index.name, index.open(place), encoder))
            return Outcome(*Searcher(dataset.corpus, views).run(dataset.queries, depth))

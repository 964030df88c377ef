"""A bi-encoder with exact search over the data set's documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encloze.data.dataset import Dataset
from encloze.encoders import load_encoder
from encloze.errors import CheckpointError
from encloze.folders import size_of, temporary
from encloze.model_folders import locate, size_of_weights
from encloze.searcher import Searcher, View, build_views, exact_indexes
from encloze.systems.base import Ready, System


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

    def check(self) -> None:
        locate(self.model)

    @contextmanager
    def ready(self, dataset: Dataset) -> Iterator[Ready]:
        dataset.check_documents()
        encoder = load_encoder(self.model, self.precision)
        if missing := [view for view in self.views if view not in encoder.views]:
            raise CheckpointError(f"{self.model} makes no {missing[0]} view; it makes: {', '.join(encoder.views)}")
        indexes = {i.name: i for i in exact_indexes(encoder) if not self.views or i.reads in self.views}
        with temporary() as folder:
            build_views(dataset.corpus, indexes, encoder, folder)
            views = [View(name, index.open(folder / name), encoder) for name, index in indexes.items()]
            yield Ready(Searcher(dataset.corpus, views).run, "", size_of(folder), size_of_weights(self.model))

"""A bi-encoder with exact search over the data set's documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from encloze.encoders.base import Encoder, load_encoder
from encloze.errors import CheckpointError
from encloze.retrieval.index_folder import exact_indexes
from encloze.search.indexes.base import Index
from encloze.systems._encoding import Encoding
from encloze.systems.base import System

_View = Literal["dense", "sparse"]
_VIEWS: tuple[_View, ...] = get_args(_View)


@dataclass(frozen=True)
class Model(Encoding, name="model"):
    """Every document is encoded and compared with every query."""

    views: tuple[_View, ...] = ()
    """Which of its views to score by; by default their weighted sum."""

    def label(self) -> str:
        return " ".join([Path(self.model).name, *self.views])

    def apart(self) -> tuple[System, ...]:
        made = load_encoder(self.model, self.precision).views
        views = [view for view in _VIEWS if view in made and (not self.views or view in self.views)]
        if len(views) < 2:
            return (self,)
        return (*(replace(self, views=(view,), title=self.title and f"{self.title} {view}") for view in views), self)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        if missing := [view for view in self.views if view not in encoder.views]:
            raise CheckpointError(f"{self.model} makes no {missing[0]} view; it makes: {', '.join(encoder.views)}")
        return {i.name: i for i in exact_indexes(encoder) if not self.views or i.reads in self.views}

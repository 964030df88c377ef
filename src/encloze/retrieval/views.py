"""Views (opened indexes with the encoders of their queries), and the default fusion of several views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from encloze.encoders.base import Encoder
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.base import IndexSearcher


@dataclass(frozen=True)
class View:
    """An opened index of a collection, with the encoder that encodes its queries.

    Attributes:
        name: The name of the view, such as ``flat`` or ``bm25``.
        index: The opened index.
        encoder: The encoder of queries; None if the index searches text.
    """

    name: str
    index: IndexSearcher
    encoder: Encoder | None = None

    @property
    def weight(self) -> float:
        """Weight of this index's scores in the similarity that the encoder defines; 1 if the index has no encoder."""
        return float(getattr(self.encoder.similarity, self.index.input_type)) if self.encoder else 1.0


def default_fusion(views: Sequence[View]) -> Fusion:
    """Return the fusion that is used if none is set.

    If all views use one encoder, it is the weighted sum of scores that the encoder defines. Otherwise, it is the sum of
    the scores after they are normalized for each view (see ``Weighted``).
    """
    encoders = {id(view.encoder) for view in views}
    if len(encoders) == 1 and all(view.encoder for view in views):
        return Weighted(tuple(view.weight for view in views), normalization="none")
    return Weighted()


def without_weightless(views: Sequence[View], fusion: Fusion) -> tuple[list[View], Fusion]:
    """Remove views with the weight 0, which would only add candidates. Return the other views, and their fusion."""
    if not isinstance(fusion, Weighted) or 0 not in fusion.weights:
        return list(views), fusion
    weights = tuple(weight for weight in fusion.weights if weight)
    kept = [view for view, weight in zip(views, fusion.weights, strict=True) if weight]
    return kept, replace(fusion, weights=weights)

"""Interface of the formats that models are exported to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from encloze.errors import CheckpointError
from encloze.family import Family

if TYPE_CHECKING:
    from encloze.models.bi_encoder import BiEncoder
    from encloze.models.cross_encoder import CrossEncoder


class Bounds(NamedTuple):
    """How much the vectors of an export may differ from those of the model."""

    difference: float
    """Largest difference of two numbers, relative to the largest number or to the length of the longest vector."""
    cosine: float
    """Lowest cosine similarity of the two vectors of a text."""
    margin: float = 0.01
    """Margin of the equivalence test of nDCG@10."""

    def __str__(self) -> str:
        return f"a difference of at most {self.difference:g}, and a cosine of {self.cosine:g} or more"


class ScoreBounds(NamedTuple):
    """How much the scores of an exported re-ranker may differ from those of the model."""

    difference: float
    """Largest difference of two scores, relative to the largest absolute score, or to 1 if all are below 1."""
    correlation: float
    """Lowest correlation (Pearson) of the scores of all pairs."""
    margin: float = 0.01
    """Margin of the equivalence test of nDCG@10."""

    def __str__(self) -> str:
        return f"a difference of at most {self.difference:g}, and a correlation of {self.correlation:g} or more"


@dataclass(frozen=True)
class ExportFormat(Family):
    """Base class of the formats that models are exported to."""

    backend: ClassVar[str]
    """The backend of encoders and re-rankers that loads the export for its certificate."""

    @property
    def bounds(self) -> Bounds:
        """The bounds that the export of an encoder must keep."""
        raise NotImplementedError(type(self).__name__)

    @property
    def score_bounds(self) -> ScoreBounds:
        """The bounds that the export of a re-ranker must keep."""
        raise NotImplementedError(type(self).__name__)

    def expressible(self, model: BiEncoder) -> BiEncoder:
        """Return the part of an encoder that the format can express. Its vectors are what an export must compute.

        Args:
            model: The model, on the CPU.

        Returns:
            By default the model itself.

        Raises:
            CheckpointError: The format can express no part of the model.
        """
        return model

    def limitations(self, model: BiEncoder | CrossEncoder) -> list[str]:
        """Return what an export lacks of a model, for the certificate and the model card; by default nothing."""
        return []

    def model_card(self, folder: Path, name: str, model: str, *, is_reranker: bool) -> str:
        """Return the model card of an export, except the certificate: origin and usage.

        Args:
            folder: The exported folder.
            name: Its name, for the title and the usage.
            model: Name of the model that was exported.
            is_reranker: Whether the model is a re-ranker.

        Returns:
            Markdown.
        """
        raise NotImplementedError(type(self).__name__)

    def write(self, model: BiEncoder, folder: Path) -> None:
        """Write an encoder into an existing folder.

        Args:
            model: What ``expressible`` returned.
            folder: The folder.

        Raises:
            CheckpointError: The model cannot be exported.
        """
        raise NotImplementedError(type(self).__name__)

    def write_reranker(self, model: CrossEncoder, folder: Path) -> None:
        """Write a re-ranker into an existing folder.

        Args:
            model: The model, on the CPU. It was loaded from a folder.
            folder: The folder.

        Raises:
            CheckpointError: The model cannot be exported. By default, no format exports re-rankers.
        """
        raise CheckpointError(f"{model.name} is a re-ranker, and the format {self.name} exports only encoders")

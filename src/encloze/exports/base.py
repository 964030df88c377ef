"""Interface of the formats that models are exported to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from encloze.family import Family

if TYPE_CHECKING:
    from encloze.models.bi_encoder import BiEncoder


class Bounds(NamedTuple):
    """How much the vectors of an export may differ from those of the model."""

    difference: float
    """Largest difference of two numbers, relative to the largest number or to the length of the longest vector."""
    cosine: float
    """Lowest cosine similarity of the two vectors of a text."""
    margin: float = 0.01
    """Margin of the equivalence test of nDCG@10."""


@dataclass(frozen=True)
class ExportFormat(Family):
    """Base class of the formats that models are exported to."""

    backend: ClassVar[str]
    """The backend of encoders that loads the export for its certificate."""

    @property
    def bounds(self) -> Bounds:
        """The bounds that an export must keep."""
        raise NotImplementedError(type(self).__name__)

    def write(self, model: BiEncoder, folder: Path) -> None:
        """Write the model into an existing folder.

        Args:
            model: The model, on the CPU.
            folder: The folder.

        Raises:
            CheckpointError: The model cannot be exported.
        """
        raise NotImplementedError(type(self).__name__)

"""Settings files of exported models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from encloze.calibration import Calibration
from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json, write_json
from encloze.storage.names import ONNX_ENCODER, ONNX_RERANKER
from encloze.text.encoding import Side

_VERSION = 1


@dataclass(frozen=True)
class OnnxSettings:
    """Base class of the settings of exported models. Shapes are in their graphs."""

    file_name: ClassVar[str]
    """Name of the file in the folder of the export."""

    name: str
    """Name of the model that was exported."""
    fingerprint: str
    """Fingerprint of the exported model. Models of lower precision than float32 have one of their own."""
    precision: str
    """Precision of the weights: ``float32`` or ``int8``."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the settings in a folder. Raises CheckpointError if they are malformed."""
        file = folder / cls.file_name
        values = dict(read_json(file))
        try:
            if (version := values.pop("encloze_onnx", None)) != _VERSION:
                raise ValueError(f"encloze_onnx is {version!r}, but this version of encloze reads {_VERSION}")
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{file} is malformed: {error}. Export the model again") from error

    def write(self, folder: Path) -> None:
        """Write the settings into a folder."""
        write_json(folder / self.file_name, {"encloze_onnx": _VERSION, **vars(self)})


@dataclass(frozen=True)
class OnnxEncoderSettings(OnnxSettings):
    """Content of onnx_encoder.json: how an exported encoder encodes texts. Pooling is in its graphs."""

    file_name: ClassVar[str] = ONNX_ENCODER

    views: dict[str, int]
    """Number of dimensions of each kind of vector."""
    similarity: dict[str, Any]
    """Arguments of ``Similarity``."""
    graphs: dict[str, str]
    """File of the graph that encodes texts of each side: ``query`` and ``document``."""
    prompts: dict[str, str]
    """Text put in front of every text of each side."""
    max_tokens: dict[str, int]
    """Maximum length of texts of each side, in tokens."""

    def __post_init__(self) -> None:
        for name in ("graphs", "prompts", "max_tokens"):
            if set(getattr(self, name)) != set(get_args(Side)):
                raise ValueError(f"{name} must have the keys query and document")
        if not self.views or not set(self.views) <= {"dense", "sparse"}:
            raise ValueError("views must be dense, sparse or both")
        if any(Path(file).name != file for file in self.graphs.values()):
            raise ValueError("graphs must be names of files in the folder")


@dataclass(frozen=True)
class OnnxRerankerSettings(OnnxSettings):
    """Content of onnx_reranker.json: how an exported re-ranker scores pairs of texts."""

    file_name: ClassVar[str] = ONNX_RERANKER

    max_tokens: int
    """Length to which a query and a document together are truncated, in tokens, with special tokens."""
    activation: Literal["identity", "sigmoid"]
    """Function of the logit that gives the score. It is not part of the graph."""
    calibration: dict[str, list[float]] | None
    """Fields of the ``Calibration`` of the scores; None if the model was not calibrated."""

    def __post_init__(self) -> None:
        if not isinstance(self.max_tokens, int) or isinstance(self.max_tokens, bool) or self.max_tokens < 1:
            raise ValueError(f"max_tokens must be a number of tokens, not {self.max_tokens!r}")
        if self.activation not in ("identity", "sigmoid"):
            raise ValueError(f"activation must be identity or sigmoid, not {self.activation!r}")
        if self.calibration is not None:
            Calibration.from_dict(self.calibration)  # raises ValueError if it is malformed

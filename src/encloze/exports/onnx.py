"""ONNX: graphs that compute embeddings and term weights from token ids, for ONNX Runtime and other programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from encloze.encoders.onnx import OnnxSettings
from encloze.errors import CheckpointError
from encloze.exports._graph import export_graph, quantize_graph
from encloze.exports.base import Bounds, ExportFormat
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Side
from encloze.storage.hashes import hash_of
from encloze.storage.json_files import write_json
from encloze.storage.names import ONNX_ENCODER
from encloze.text.tokenizer import Tokenizer

_WHOLE = "whole.onnx"


@dataclass(frozen=True)
class Onnx(ExportFormat, name="onnx"):
    """model.onnx, or query.onnx and document.onnx if the model encodes queries and documents in different ways.

    Pooling, projection, normalization and term weights are in the graph, with the outputs dense and sparse. The inputs
    are input_ids, attention_mask and own_tokens (int64, batch x length), of which only those that the model reads are
    there; own_tokens is 1 for tokens of the text itself, 0 for special tokens, padding and the prompt.
    """

    backend: ClassVar[str] = "onnx"

    precision: Literal["float32", "int8"] = "float32"
    """float32, or int8: weights with a scale for each channel, a quarter of the size, and slightly other vectors."""

    @property
    def bounds(self) -> Bounds:
        """The bounds that an export must keep."""
        return Bounds(1e-4, 0.99999) if self.precision == "float32" else Bounds(1.0, 0.9)

    def write(self, model: BiEncoder, folder: Path) -> None:
        """Write graphs, tokenizer and settings into an existing folder (see ``ExportFormat.write``)."""
        sides: tuple[Side, ...] = get_args(Side)
        differ = any(head.differs_by_side for head in model.config.heads)
        graphs: dict[str, str] = {side: f"{side}.onnx" if differ else "model.onnx" for side in sides}
        for file, side in {graphs[side]: side for side in sides}.items():
            self._write_graph(model, side, folder / file)
        model.backbone.config.save_pretrained(folder)
        model.tokenizer.save(folder, model.backbone.max_tokens)
        if Tokenizer.load(folder).fingerprint != model.tokenizer.fingerprint:
            raise CheckpointError(f"{model.name}: its tokenizer changes when it is saved, so it cannot be exported")
        config = model.config
        fingerprint = model.fingerprint
        if self.precision != "float32":
            fingerprint = hash_of((fingerprint, "onnx", self.precision))[:16]
        settings = OnnxSettings(
            name=model.name,
            fingerprint=fingerprint,
            precision=self.precision,
            views=model.views,
            similarity=asdict(model.similarity),
            graphs=graphs,
            prompts={side: config.prompt(side) for side in sides},
            max_tokens={side: config.max_tokens(side) for side in sides},
        )
        write_json(folder / ONNX_ENCODER, settings.to_dict())

    def _write_graph(self, model: BiEncoder, side: Side, file: Path) -> None:
        if self.precision == "float32":
            export_graph(model, side, file)
            return
        whole = file.with_name(_WHOLE)
        export_graph(model, side, whole)
        quantize_graph(whole, file)
        for written in file.parent.glob(f"{_WHOLE}*"):
            written.unlink()

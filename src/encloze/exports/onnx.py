"""ONNX: graphs that compute vectors of texts or scores of pairs, for ONNX Runtime and other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, get_args

from encloze.encoders._onnx_settings import OnnxEncoderSettings, OnnxRerankerSettings
from encloze.errors import CheckpointError
from encloze.exports._graph import export_graph, export_reranker_graph, quantize_graph
from encloze.exports.base import Bounds, ExportFormat, ScoreBounds
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import model_fingerprint
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.heads.base import Side
from encloze.storage.hashes import hash_of
from encloze.storage.model_folders import locate
from encloze.storage.names import RERANKER_GRAPH
from encloze.text.tokenizer import Tokenizer

_WHOLE = "whole.onnx"
_ENCODER_USAGE = """from encloze import Encoder

encoder = Encoder.from_pretrained("{}")  # needs no torch
"""
_RERANKER_USAGE = """from encloze import Retriever

retriever = Retriever.load("my_index", reranker="{}")  # needs no torch
"""


@dataclass(frozen=True)
class Onnx(ExportFormat, name="onnx"):
    """model.onnx, or query.onnx and document.onnx if the model encodes queries and documents in different ways.

    Pooling, projection, normalization and term weights are in the graph, with the outputs dense and sparse. The inputs
    are input_ids, attention_mask and own_tokens (int64, batch x length), of which only those that the model reads are
    there; own_tokens is 1 for tokens of the text itself, 0 for special tokens, padding and the prompt. The graph of a
    re-ranker has token_type_ids in place of own_tokens, and the output logits (float32, one per pair).
    """

    backend: ClassVar[str] = "onnx"

    precision: Literal["float32", "int8"] = "float32"
    """float32, or int8: weights with a scale for each channel, a quarter of the size, and slightly other vectors
    and scores."""

    @property
    def bounds(self) -> Bounds:
        """The bounds that the export of an encoder must keep."""
        return Bounds(1e-4, 0.99999) if self.precision == "float32" else Bounds(1.0, 0.9)

    @property
    def score_bounds(self) -> ScoreBounds:
        """The bounds that the export of a re-ranker must keep."""
        return ScoreBounds(1e-5, 0.9999) if self.precision == "float32" else ScoreBounds(0.25, 0.9)

    def model_card(self, folder: Path, name: str, model: str, *, is_reranker: bool) -> str:
        """Return the model card (see ``ExportFormat.model_card``)."""
        usage = (_RERANKER_USAGE if is_reranker else _ENCODER_USAGE).format(name)
        origin = f"{Path(model).name}, exported by encloze ({self.summary()})"
        return f"# {name}\n\n{origin}.\n\n## Usage\n\n```python\n{usage}```\n"

    def write(self, model: BiEncoder, folder: Path) -> None:
        """Write graphs, tokenizer and settings into an existing folder (see ``ExportFormat.write``)."""
        sides: tuple[Side, ...] = get_args(Side)
        differ = any(head.differs_by_side for head in model.config.heads)
        graphs: dict[str, str] = {side: f"{side}.onnx" if differ else "model.onnx" for side in sides}
        for file, side in {graphs[side]: side for side in sides}.items():
            self._write_graph(partial(export_graph, model, side), folder / file)
        model.backbone.config.save_pretrained(folder)
        _write_tokenizer(model.tokenizer, model.backbone.max_tokens, folder, model.name)
        config = model.config
        OnnxEncoderSettings(
            name=model.name,
            fingerprint=self._fingerprint(model.fingerprint),
            precision=self.precision,
            views=model.views,
            similarity=asdict(model.similarity),
            graphs=graphs,
            prompts={side: config.prompt(side) for side in sides},
            max_tokens={side: config.max_tokens(side) for side in sides},
        ).write(folder)

    def write_reranker(self, model: CrossEncoder, folder: Path) -> None:
        """Write graph, tokenizer and settings into an existing folder (see ``ExportFormat.write_reranker``)."""
        self._write_graph(partial(export_reranker_graph, model), folder / RERANKER_GRAPH)
        model.model.config.save_pretrained(folder)
        _write_tokenizer(model.tokenizer, model.max_tokens, folder, model.name)
        settings = {"activation": model.activation, "max_tokens": model.max_tokens}
        OnnxRerankerSettings(
            name=model.name,
            fingerprint=self._fingerprint(model_fingerprint(locate(model.name), settings, model.tokenizer)),
            precision=self.precision,
            max_tokens=model.max_tokens,
            activation=model.activation,
            calibration=asdict(model.calibration) if model.calibration else None,
        ).write(folder)

    def _fingerprint(self, of_model: str) -> str:
        """Return the fingerprint of an export. That of float32 is the model's, because indexes suit both."""
        return of_model if self.precision == "float32" else hash_of((of_model, "onnx", self.precision))[:16]

    def _write_graph(self, export: Callable[[Path], None], file: Path) -> None:
        """Write a graph in the precision of the settings. ``export`` writes it in float32."""
        if self.precision == "float32":
            export(file)
            return
        whole = file.with_name(_WHOLE)
        export(whole)
        quantize_graph(whole, file)
        for written in file.parent.glob(f"{_WHOLE}*"):
            written.unlink()


def _write_tokenizer(tokenizer: Tokenizer, max_tokens: int, folder: Path, name: str) -> None:
    """Write a tokenizer, and check that it can be read without transformers."""
    tokenizer.save(folder, max_tokens)
    if Tokenizer.load(folder).fingerprint != tokenizer.fingerprint:
        raise CheckpointError(f"{name}: its tokenizer changes when it is saved, so it cannot be exported")

"""Export of a bi-encoder to an ONNX graph, from token ids to embeddings and term weights."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encloze.errors import CheckpointError, importable
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Side, TextBatch

_OPSET = 20
_INPUTS = ("input_ids", "attention_mask", "own_tokens")


class _Graph(nn.Module):
    """Computation of one side: the encoder, its heads, and what they prune."""

    def __init__(self, model: BiEncoder, side: Side) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(self, input_ids: Tensor, attention_mask: Tensor, own_tokens: Tensor) -> tuple[Tensor, ...]:
        texts = TextBatch(input_ids, attention_mask.bool(), own_tokens.bool())
        vectors = self.model.prune(self.model(texts, self.side), self.side, training=False)
        return tuple(view.float() for view in vectors if view is not None)


def export_graph(model: BiEncoder, side: Side, file: Path) -> None:
    """Write the graph of a model for queries or documents. Numbers of texts and of tokens are free.

    Args:
        model: The model, on the CPU.
        side: What the graph encodes.
        file: The file to write. The weights are in a second file, with ``.data`` appended to its name.

    Raises:
        CheckpointError: torch cannot export the encoder.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    for package in ("onnx", "onnxscript"):
        importable(package, "export")
    limit = min(model.config.max_tokens(side), 9)
    ids = torch.arange(3 * limit).reshape(3, limit) % model.tokenizer.vocab_size
    mask = torch.ones_like(ids)
    mask[1, limit // 2 :] = 0  # so that a graph that ignores padding differs
    dynamic: Any = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in _INPUTS}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Graph(model.eval(), side),
                (ids, mask, mask.clone()),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=_INPUTS,
                output_names=list(model.views),
                opset_version=_OPSET,
                verbose=False,
            )
            assert program is not None  # dynamo=True
            inputs = program.model.graph.inputs
            for unused in [one for one in inputs if not one.uses()]:
                inputs.remove(unused)
            program.save(str(file), external_data=True)  # mapped into memory: half of the memory of one file
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"{model.name}: torch {torch.__version__} cannot export this encoder: {reason}"
            ) from error


def quantize_graph(file: Path, target: Path) -> None:
    """Write a graph whose weights are int8, with a scale for each channel; activations are quantized when it runs."""
    onnx = importable("onnx", "export")
    from onnxruntime import quantization

    graph = onnx.load(str(file))
    del graph.graph.value_info[:]  # shapes from before the exporter's optimizations, some of them wrong
    with _quiet():
        quantization.quantize_dynamic(graph, str(target), per_channel=True, weight_type=quantization.QuantType.QInt8)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what exporters print about their own steps; errors are raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root", "")]
    levels = [logger.level for logger in loggers]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

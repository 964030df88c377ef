"""Export of models to ONNX graphs, from token ids to embeddings and term weights, or to logits of pairs."""

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
from encloze.models.cross_encoder import CrossEncoder, PairBatch
from encloze.models.heads.base import Side, TextBatch

_OPSET = 20


class _EncoderGraph(nn.Module):
    """Computation of one side: the encoder, its heads, and what they prune."""

    def __init__(self, model: BiEncoder, side: Side) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(self, input_ids: Tensor, attention_mask: Tensor, own_tokens: Tensor) -> tuple[Tensor, ...]:
        texts = TextBatch(input_ids, attention_mask.bool(), own_tokens.bool())
        vectors = self.model.prune(self.model(texts, self.side), self.side, training=False)
        return tuple(view.float() for view in vectors if view is not None)


class _RerankerGraph(nn.Module):
    """Computation of the logits of pairs."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        logits: Tensor = self.model(PairBatch(input_ids, attention_mask.bool(), token_type_ids))
        return logits


def export_graph(model: BiEncoder, side: Side, file: Path) -> None:
    """Write the graph of an encoder for queries or documents. Numbers of texts and of tokens are free.

    Args:
        model: The model, on the CPU.
        side: What the graph encodes.
        file: The file to write. The weights are in a second file, with ``.data`` appended to its name.

    Raises:
        CheckpointError: torch cannot export the encoder.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    ids, mask = _example(model.config.max_tokens(side), model.tokenizer.vocab_size)
    inputs = {"input_ids": ids, "attention_mask": mask, "own_tokens": mask.clone()}
    _write(_EncoderGraph(model.eval(), side), inputs, list(model.views), file, model.name)


def export_reranker_graph(model: CrossEncoder, file: Path) -> None:
    """Write the graph of a re-ranker, with the output logits. Numbers of pairs and of tokens are free.

    Args:
        model: The model, on the CPU.
        file: The file to write. The weights are in a second file, with ``.data`` appended to its name.

    Raises:
        CheckpointError: torch cannot export the re-ranker.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    ids, mask = _example(model.max_tokens, model.tokenizer.vocab_size)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    _write(_RerankerGraph(model.eval()), inputs, ["logits"], file, model.name)


def _example(max_tokens: int, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Return token ids and an attention mask (both int64, 3 x length) with which a model is traced."""
    limit = min(max_tokens, 9)
    ids = torch.arange(3 * limit).reshape(3, limit) % vocab_size
    mask = torch.ones_like(ids)
    mask[1, limit // 2 :] = 0  # so that a graph that ignores padding differs
    return ids, mask


def _write(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], file: Path, name: str) -> None:
    """Write the graph of a module.

    Args:
        graph: The module.
        inputs: Its inputs by name, each int64 and batch x length. Those that it does not read are left out.
        outputs: Names of its outputs.
        file: The file to write.
        name: Name of the model, for error messages.
    """
    for package in ("onnx", "onnxscript"):
        importable(package, "export")
    dynamic: Any = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in inputs}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=list(inputs),
                output_names=outputs,
                opset_version=_OPSET,
                verbose=False,
            )
            assert program is not None  # dynamo=True
            given = program.model.graph.inputs
            for unused in [one for one in given if not one.uses()]:
                given.remove(unused)
            program.save(str(file), external_data=True)  # mapped into memory: half of the memory of one file
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(f"{name}: torch {torch.__version__} cannot export this model: {reason}") from error


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

"""The configurations that ``encloze compress`` tries, and the measurement of one of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.encoders.base import Encoder, load_encoder
from encloze.encoders.torch import TorchEncoder
from encloze.errors import MissingExtraError, RecipeError, importable
from encloze.evaluation.compression import MEASURE, Budget, CompressionReport, Configuration
from encloze.evaluation.estimates import estimate
from encloze.evaluation.latency import latencies
from encloze.evaluation.measures import compute_measures
from encloze.exports._certificate import certify, machine
from encloze.exports.onnx import Onnx
from encloze.models.bi_encoder import BiEncoder
from encloze.models.precision import resolve_precision
from encloze.retrieval.index_building import build_views, exact_indexes
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning_queries import queries_with_documents
from encloze.retrieval.views import View
from encloze.search.indexes.base import Index
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.search.indexes.ivf import Ivf
from encloze.storage.cache import temporary_folder
from encloze.storage.disk import size_of
from encloze.storage.model_folders import locate, size_of_weights

Precision = Literal["float32", "bfloat16", "onnx", "onnx_int8"]

_DEPTH, _LEVEL = 10, 0.05
_RECALL = 0.999  # so that the loss is that of the compression, not of the search
_TIMED_DOCUMENTS, _WARM_UP = 256, 16
_EXPORTS: dict[str, Literal["float32", "int8"]] = {"onnx": "float32", "onnx_int8": "int8"}


class Variant(NamedTuple):
    """A model in one precision."""

    model: str
    """Name for tables."""
    precision: Precision
    encoder: Encoder
    location: str
    """What loads it: a folder, a hub id or minilm."""
    documents_per_second: float


def available_precisions() -> tuple[Precision, ...]:
    """Return the precisions that can be tried on this machine with the installed packages."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bfloat16: tuple[Precision, ...] = ("bfloat16",) if resolve_precision("auto", device) == "bfloat16" else ()
    try:
        for package in ("onnx", "onnxscript"):
            importable(package, "export")
    except MissingExtraError as error:
        progress.note(f"onnx is not tried: {error}")
        return ("float32", *bfloat16)
    return ("float32", *bfloat16, "onnx", "onnx_int8")


def default_indexes(views: dict[str, int]) -> tuple[Index, ...]:
    """Return the ways of storing vectors that are tried by default, the exact one first.

    Args:
        views: Number of dimensions of each kind of vector of the model. Of a model with both kinds, the embeddings are
            compressed, and its term weights are stored as they are.
    """
    if "dense" not in views:
        return tuple(Inverted(impacts=kind) for kind in ("float32", "float16", "uint8"))
    compressed = (
        Ivf(storage="fp16"),
        Ivf(storage="int8"),
        Ivf(storage="int8", dim=views["dense"] // 2, rescoring=4.0),
        Ivf(storage="rabitq", rescoring=4.0),
        Ivf(storage="pq", rescoring=4.0),
    )
    return (Flat(), *(replace(index, target_recall=_RECALL) for index in compressed))


class CompressionTrials:
    """Measures configurations on judged queries.

    Args:
        dataset: The queries and documents.
        margin: Margin of the equivalence test of nDCG@10.
        folder: Folder into which exported models are written.
    """

    def __init__(self, dataset: DatasetSplit, margin: float, folder: Path) -> None:
        self.dataset, self._margin, self._folder = queries_with_documents(dataset), margin, folder
        self.dataset.check_judged_documents()
        self.configurations, self.skipped = list[Configuration](), list[str]()
        self.tried = list[tuple[Variant, tuple[Index, ...]]]()
        """Model and indexes of each configuration."""
        self._first: np.ndarray | None = None

    def measure_all(self, models: Sequence[str], precisions: Sequence[Precision], indexes: Sequence[Index]) -> None:
        """Measure each model in each precision, each index, and the combinations of those that are equivalent."""
        exact, *others = dict.fromkeys(indexes)
        for model, precision in itertools.product(dict.fromkeys(models), dict.fromkeys(precisions)):
            if variant := self._load(model, precision):
                self._measure(variant, exact)
        first = self.tried[0][0]
        variants = [variant for variant, _ in self._equivalent()]
        for index in others:
            self._measure(first, index)
        usable = [index for variant, (index, *_) in self._equivalent() if variant is first and index is not exact]
        for variant, index in itertools.product(variants, usable):
            if variant is not first:
                self._measure(variant, index)

    def report(self, budget: Budget, prefer: Literal["latency", "memory"]) -> CompressionReport:
        """Return the figures of all configurations."""
        return CompressionReport(
            dataset=str(self.dataset.format.location()),
            split=self.dataset.split,
            queries=len(self.dataset.queries),
            documents=len(self.dataset.corpus),
            budget=budget,
            prefer=prefer,
            configurations=tuple(self.configurations),
            skipped=tuple(self.skipped),
            machine=machine(),
        )

    def _equivalent(self) -> list[tuple[Variant, tuple[Index, ...]]]:
        pairs = zip(self.tried, self.configurations, strict=True)
        return [tried for tried, configuration in pairs if configuration.is_equivalent]

    def _load(self, model: str, precision: Precision) -> Variant | None:
        """Return a model in a precision. Returns None if its export fails its certificate, which the report says."""
        name, location = Path(model).name, model
        progress.note(f"Loading {name} in {precision}")
        if precision in _EXPORTS:
            exported = self._export(model, precision)
            if not exported:
                return None
            location = str(exported)
            encoder = load_encoder(location)
        else:
            encoder = load_encoder(model, precision)  # type: ignore[arg-type]
        return Variant(name, precision, encoder, location, self._throughput(encoder))

    def _export(self, model: str, precision: Precision) -> Path | None:
        folder, format_ = self._folder / f"{precision}-{len(self.tried)}", Onnx(_EXPORTS[precision])
        folder.mkdir()
        torch_model = BiEncoder.load(model, precision="float32", device="cpu")
        format_.write(torch_model, folder)
        encoder = TorchEncoder(torch_model)
        report = certify(encoder, encoder, format_, folder, locate(model), None)
        report.save(folder)
        if report.failures:
            self.skipped.append(f"{Path(model).name} in {precision}: {'; '.join(report.failures)}")
            return None
        return folder

    def _throughput(self, encoder: Encoder) -> float:
        """Return the documents encoded per second."""
        corpus = self.dataset.corpus
        numbers = np.unique(np.linspace(0, len(corpus) - 1, _TIMED_DOCUMENTS).astype(np.int64))
        texts = list(corpus.texts(numbers))
        with progress.use_listener(progress.SilentListener()):
            list(encoder.represent_documents(texts[:_WARM_UP], _WARM_UP))
            began = time.perf_counter()
            list(encoder.represent_documents(texts, len(texts)))
            return len(texts) / (time.perf_counter() - began)

    def _measure(self, variant: Variant, index: Index) -> None:
        """Build an index of the documents, and measure quality and costs."""
        corpus, queries = self.dataset.corpus, self.dataset.queries
        compressed = index.input_type
        others = [other for other in exact_indexes(variant.encoder) if other.input_type != compressed]
        indexes = {each.name: each for each in (index, *others)}
        label = " + ".join(each.label for each in indexes.values())
        title = f"{variant.model} in {variant.precision}, {label}"
        progress.note(f"Measuring {title}")
        with temporary_folder() as folder:
            try:
                built = build_views(corpus, indexes, variant.encoder, folder)
            except (RecipeError, ValueError) as error:
                self.skipped.append(f"{title}: {error}")
                return
            views = [View(name, each.open(folder / name), variant.encoder) for name, each in built.items()]
            retriever = Retriever(corpus, views)
            run, _ = retriever.run(queries, _DEPTH)
            values = compute_measures(run, self.dataset.judgments, [MEASURE])[MEASURE]
            self._first = values if self._first is None else self._first
            difference = estimate([values], [self._first])
            encoding = latencies(lambda query: variant.encoder.represent_queries([query.text]), queries)["p50"]
            timed = latencies(lambda query: retriever.run([query], _DEPTH), queries)
            self.tried.append((variant, (index, *others)))
            self.configurations.append(
                Configuration(
                    model=variant.model,
                    precision=variant.precision,
                    vectors=label,
                    quality=estimate([values]).interval(),
                    difference=difference.interval(),
                    is_equivalent=len(self.tried) == 1 or difference.p_equivalent(self._margin) < _LEVEL,
                    model_bytes=size_of_weights(variant.location),
                    vector_bytes=sum(each.memory(folder / name) for name, each in built.items()),
                    disk_bytes=size_of(folder),
                    milliseconds=timed,
                    encoding_milliseconds=encoding,
                    documents_per_second=variant.documents_per_second,
                )
            )

"""Compression: the choice of a configuration, and the measurement of real ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toys
from encloze import recipe
from encloze.cli.main import main
from encloze.commands._compression_trials import default_indexes
from encloze.commands.base import CompressionResult
from encloze.commands.compress import Compress
from encloze.data.formats.base import Format
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, DataError, RecipeError
from encloze.evaluation.compression import Budget, CompressionReport, Configuration
from encloze.intervals import Interval
from encloze.retrieval.retriever import Retriever
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.search.indexes.ivf import Ivf


def configuration(name: str, quality: float, p50: float, memory: int, *, equivalent: bool = True) -> Configuration:
    return Configuration(
        model=name,
        precision="float32",
        vectors="flat",
        quality=Interval(quality, quality - 0.02, quality + 0.02),
        difference=Interval(quality - 0.6, quality - 0.605, quality - 0.595),
        is_equivalent=equivalent,
        model_bytes=memory * 10**6 // 2,
        vector_bytes=memory * 10**6 // 2,
        disk_bytes=memory * 10**6,
        milliseconds={"p50": p50, "p95": 2 * p50, "p99": 3 * p50},
        encoding_milliseconds=p50 / 2,
        documents_per_second=100.0,
    )


FIRST = configuration("retriever", 0.6, 10.0, 100)
SMALL = configuration("small", 0.598, 5.2, 30)
FAST = configuration("fast", 0.599, 5.0, 60)
BAD = configuration("bad", 0.4, 1.0, 5, equivalent=False)
USELESS = configuration("useless", 0.59, 11.0, 120)


def report_of(*others: Configuration, prefer: Any = "latency", **budget: float) -> CompressionReport:
    return CompressionReport("my_data", "dev", 50, 400, Budget(**budget), prefer, (FIRST, *others))


# The choice


def test_the_pareto_front_has_what_nothing_else_beats() -> None:
    assert report_of(SMALL, FAST, BAD, USELESS).pareto == [True, True, True, True, False]
    assert report_of(replace_cost(FIRST, 9.0)).pareto == [False, True]
    assert report_of(FIRST).pareto == [True, True]  # equal ones do not exclude each other


def replace_cost(one: Configuration, p50: float) -> Configuration:
    return one._replace(milliseconds={**one.milliseconds, "p50": p50})


def test_of_the_fastest_equivalent_ones_the_smallest_is_recommended() -> None:
    report = report_of(FAST, SMALL, BAD)
    assert report.recommended == SMALL  # within a tenth of the lowest latency
    assert "small float32, flat takes the least memory of the configurations" in report.reason
    assert "and whose latency is within 10% of the lowest: " in report.reason
    assert "5.2 ms and 30.0 MB, and retriever float32, flat 10.0 ms and 100.0 MB" in report.reason
    assert report_of(FAST, replace_cost(SMALL, 5.6), BAD).recommended == FAST
    assert report_of(FAST, SMALL, prefer="memory").recommended == SMALL
    assert "takes the least memory" in report_of(FAST, SMALL, prefer="memory").reason


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        ({"vectors_mb": 20}, SMALL),
        ({"model_mb": 40}, FAST._replace(model_bytes=40 * 10**6, vector_bytes=10**6)),
        ({"milliseconds": 5.1}, FAST),
    ],
)
def test_the_budget_limits_the_choice(budget: dict[str, float], chosen: Configuration) -> None:
    others = [SMALL, FAST] if chosen in (SMALL, FAST) else [chosen, USELESS]
    assert report_of(*others, **budget).recommended == chosen


def test_without_a_usable_configuration_the_closest_one_is_named() -> None:
    report = report_of(SMALL, BAD, milliseconds=2)
    assert report.recommended is None
    assert "No configuration that is equivalent within 0.01 is within the budget" in report.reason
    assert "The closest one is small float32, flat: latency 5.2 ms, limit 2" in report.reason
    report = report_of(SMALL, FAST, prefer="memory", model_mb=1, vectors_mb=10)
    assert "closest one is small float32, flat: model 15.0 MB, limit 1; vectors 15.0 MB, limit 10" in report.reason
    assert report_of(BAD).recommended == FIRST and "Keep the model as it is" in report_of(BAD).reason


def test_a_report_is_saved_and_shown(tmp_path: Path) -> None:
    report = replace(report_of(SMALL, BAD), skipped=("student: failed",), machine={"processor": "x", "threads": 2})
    report.save(tmp_path)
    assert CompressionReport.load(tmp_path) == report
    quality, costs = report.tables()
    assert [row[-1] for row in quality.rows] == ["Pareto", "recommended", "Pareto"]
    assert [row[-2] for row in quality.rows] == ["yes", "yes", "no"] and quality.rows[0][5] is None
    assert [row[0] for row in costs.rows] == [1, 2, 3]
    assert report.notes[-2:] == ["student: failed", report.reason]


def test_the_default_indexes_depend_on_the_vectors_of_the_model() -> None:
    dense = default_indexes({"dense": 384})
    assert dense[0] == Flat() and [index.storage for index in dense[1:] if isinstance(index, Ivf)] == [
        "fp16",
        "int8",
        "int8",
        "rabitq",
        "pq",
    ]
    assert [getattr(index, "dim", None) for index in dense] == [None, None, None, 192, None, None]
    assert default_indexes({"sparse": 300}) == tuple(Inverted(impacts=kind) for kind in ("float32", "float16", "uint8"))


@pytest.mark.filterwarnings("ignore:.*SwigPy")
def test_the_memory_of_an_index_is_that_of_the_vectors_it_compares(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((6000, 32)).astype(np.float32)
    sizes = {}
    for name, index in {"flat": Flat(), "int8": Ivf(storage="int8"), "pq": Ivf(storage="pq")}.items():
        (tmp_path / name).mkdir()
        index.build(Representation(rows), tmp_path / name)
        sizes[name] = index.memory(tmp_path / name) / len(rows)
    assert 128 <= sizes["flat"] < 129
    assert 40 <= sizes["int8"] < 50  # 32, 8 for the number of the document, and the centroids
    assert 16 <= sizes["pq"] < 32


# Real configurations


def compress(model: Path, dataset: Path, output: Path, **settings: Any) -> CompressionResult:
    format_ = recipe.coerce(Format, str(dataset), source="test", name="dataset")
    return Compress(str(model), format_, output, **settings).run()


@pytest.mark.long
def test_models_and_vectors_are_measured_and_the_recommendation_can_be_built(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, student = (toys.write_model(tmp_path / name, views=("dense",)) for name in ("retriever", "student"))
    (student / "encloze.json").write_text((student / "encloze.json").read_text().replace('"cls"', '"mean"'))
    result = compress(
        model,
        dataset,
        tmp_path / "smaller",
        students=(str(student),),
        precisions=("float32", "onnx_int8"),
        indexes=(Flat(), Ivf(storage="int8")),
        budget=Budget(loss=0.9),
    )
    tried = [(one.model, one.precision, one.vectors) for one in result.report.configurations]
    assert tried == [
        ("retriever", "float32", "flat float32"),
        ("retriever", "onnx_int8", "flat float32"),
        ("student", "float32", "flat float32"),
        ("student", "onnx_int8", "flat float32"),
        ("retriever", "float32", "ivf int8"),
        ("retriever", "onnx_int8", "ivf int8"),
        ("student", "float32", "ivf int8"),
        ("student", "onnx_int8", "ivf int8"),
    ]
    first = result.report.configurations[0]
    assert first.difference == (0, 0, 0) and first.is_equivalent
    assert all(one.model_bytes > 0 and one.milliseconds["p50"] > 0 for one in result.report.configurations)
    assert result.report.queries == 10 and result.report.documents == 40
    chosen = result.report.recommended
    assert chosen is not None and result.recipe == tmp_path / "smaller" / "index.yaml"
    assert (tmp_path / "smaller" / "model").is_dir() == (chosen.precision == "onnx_int8")
    kept = {path.name for path in (tmp_path / "smaller").iterdir()} - {"model"}
    assert kept == {"compression.json", "index.yaml", "inputs.json", "manifest.json", "recipe.yaml", "versions.json"}
    capsys.readouterr()
    arguments = ["index", str(result.recipe), "--corpus", str(dataset), "--output", str(tmp_path / "index")]
    assert main(arguments) == 0
    found = Retriever.load(tmp_path / "index").search("tell me about the river history", k=3)
    assert len(found) == 3
    page = tmp_path / "report"
    assert main(["report", str(tmp_path / "smaller"), "--output", str(page)]) == 0
    html = (page / "report.html").read_text()
    assert "takes the least memory" in html or "Keep the model as it is" in html
    assert "median milliseconds per query" in html and "1. retriever float32, flat float32" in html


def test_quality_is_that_of_the_model(dataset: Path, tmp_path: Path) -> None:
    """The nDCG@10 of the first row is that of ``encloze evaluate`` with the model."""
    model = toys.write_model(tmp_path / "retriever", views=("dense", "sparse"))
    result = compress(model, dataset, tmp_path / "smaller", precisions=("float32",), indexes=(Flat(),))
    (only,) = result.report.configurations
    encoder = Encoder.from_pretrained(model, precision="float32")
    documents = [f"{document['title']} {document['text']}" for document in toys.documents()]
    scores = encoder.similarity(
        encoder.encode_queries([str(query["text"]) for query in toys.queries()[20:30]]),
        encoder.encode_documents(documents),
    )
    ranks = (scores > np.take_along_axis(scores, np.arange(20, 30)[:, None], 1)).sum(axis=1)
    expected = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean()
    assert only.quality.mean == pytest.approx(expected, abs=1e-3)
    assert result.report.recommended == only and "Keep the model" in result.report.reason


def test_errors_come_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    model = toys.write_model(tmp_path / "retriever", views=("dense",))
    with pytest.raises(RecipeError, match="precisions: float32 must be among them"):
        compress(model, dataset, tmp_path / "out", precisions=("onnx",))
    with pytest.raises(DataError, match="no judgments for the split 'none'"):
        compress(model, dataset, tmp_path / "out", split="none", precisions=("float32",))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(CheckpointError, match="only encoders can be compressed"):
        compress(model, dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()

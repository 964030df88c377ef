"""Exported re-rankers: the same scores as the model, without torch; and exports that differ are found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock

import encloze
import toys
from encloze import Encoder
from encloze.calibration import Calibration
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.runs import read_run
from encloze.encoders.base import load_reranker, load_scorer
from encloze.errors import CheckpointError, RecipeError
from encloze.exports._reranker_certificate import certify_reranker, score_difference, special_pairs
from encloze.exports._samples import sample_of
from encloze.exports.onnx import Onnx
from encloze.models.cross_encoder import RERANKER_FILE, CrossEncoder
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import write_manifest
from encloze.storage.names import ONNX_ENCODER, ONNX_RERANKER, RERANKER_GRAPH

FAMILIES = ("bert", "roberta", "xlm_roberta", "mpnet", "distilbert", "deberta_v2", "electra", "modernbert")
CALIBRATION = Calibration((0.0, 0.5, 1.0), (0.1, 0.2, 0.9))
DOCUMENTS = toys.texts()
PAIRS = [(query, DOCUMENTS[(7 * number) % 40]) for number, query in enumerate(DOCUMENTS)] + special_pairs()


def write_reranker(folder: Path, family: str = "bert", activation: str = "sigmoid") -> Path:
    """Write a re-ranker with random weights, whose scores vary as much as those of a trained one."""
    start = folder.with_name(f"{folder.name}-start")
    start.mkdir(parents=True)
    made = toys.tokenizer()
    toys.encoder(family, made.vocab_size).save(start)
    made.save(start, 64)
    torch.manual_seed(0)
    model = CrossEncoder.load(str(start), max_tokens=48, device="cpu")
    with torch.no_grad():
        next(weight for weight in model.parameters() if len(weight) == 1 and weight.ndim == 2).mul_(30)
    model.activation = activation  # type: ignore[assignment]
    folder.mkdir()
    model.save(folder)
    values = read_json(folder / RERANKER_FILE)
    write_json(folder / RERANKER_FILE, values | {"calibration": asdict(CALIBRATION)})
    return folder


def float32(folder: Path) -> CrossEncoder:
    return CrossEncoder.from_pretrained(str(folder), precision="float32", device="cpu")


def exported(model: Path, folder: Path, format_: Onnx | None = None) -> Path:
    folder.mkdir()
    (format_ or Onnx()).write_reranker(float32(model), folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a re-ranker (model) and its export (exported), which tests must not change."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "reranker"  # one for all processes
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            staging = tmp_path_factory.mktemp("export") / "reranker"
            write_manifest(exported(write_reranker(staging / "model"), staging / "exported"))
            staging.rename(folder)
    return folder


@pytest.fixture
def copied(folders: Path, tmp_path: Path) -> Path:
    """Return a copy of an exported re-ranker."""
    return Path(shutil.copytree(folders / "exported", tmp_path / "copied"))


def changed(folder: Path, **values: Any) -> None:
    """Change settings of an exported re-ranker."""
    write_json(folder / ONNX_RERANKER, read_json(folder / ONNX_RERANKER) | values)
    write_manifest(folder)


@pytest.mark.long
def test_an_exported_re_ranker_computes_the_same_scores(folders: Path) -> None:
    model, reranker = float32(folders / "model"), load_reranker(str(folders / "exported"))
    expected, found = model.score(PAIRS), reranker.score(PAIRS)
    assert expected.min() < 0.3 and expected.max() > 0.7  # probabilities that differ
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose([reranker.score([pair])[0] for pair in PAIRS[-20:]], expected[-20:], atol=1e-5)
    assert reranker.score([]).shape == (0,)
    assert reranker.calibration == CALIBRATION
    assert reranker.name == str(folders / "exported")
    np.testing.assert_array_equal(load_scorer(str(folders / "exported")).score(PAIRS), found)
    assert read_json(folders / "exported" / ONNX_RERANKER)["precision"] == "float32"


def test_commands_with_an_exported_re_ranker_need_no_torch(folders: Path, dataset: Path, tmp_path: Path) -> None:
    exported, data = str(folders / "exported"), str(dataset)
    commands = [
        ["index", "--indexes", "bm25", "--corpus", data, "--output", "index"],
        ["search", "--index", "index", "--reranker", exported, "river history"],
        ["evaluate", "--systems", "bm25", "--reranker", exported, "--dataset", data, "--split", "test",
         "--output", "evaluated"],
        ["score", "--model", exported, "--candidates", "evaluated/runs/bm25.trec", "--dataset", data,
         "--split", "test", "--depth", "3", "--output", "scores"],
    ]  # fmt: skip
    code = (
        "import json, sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        "from encloze.cli.main import main; sys.exit(sum(main(command) for command in json.loads(sys.argv[1])))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    call = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "history" in done.stdout and "bm25 + exported" in done.stdout
    scores = next(iter(read_run(tmp_path / "scores").items()))
    texts = {str(document["_id"]): text for document, text in zip(toys.documents(), DOCUMENTS, strict=True)}
    query = next(str(query["text"]) for query in toys.queries() if query["_id"] == scores[0])
    expected = float32(folders / "model").score([(query, texts[document]) for document in scores[1]])
    np.testing.assert_allclose(list(scores[1].values()), expected, atol=2e-5)


def failures_of(folder: Path, model: Path, format_: Onnx | None = None) -> list[str]:
    """Return the bounds that the scores of an export do not keep."""
    pairs = special_pairs()
    expected, found = float32(model).score(pairs), load_reranker(str(folder)).score(pairs)
    return list(score_difference(expected, found).failures("special texts", (format_ or Onnx()).score_bounds))


def with_input(folder: Path, name: str, operation: str, operand: int) -> None:
    """Change a graph: replace an input by the result of an operation on it."""
    graph = onnx.load(str(folder / RERANKER_GRAPH), load_external_data=False)
    for node in graph.graph.node:
        node.input[:] = ["changed" if one == name else one for one in node.input]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(operand, np.int64), "operand"))
    graph.graph.node.insert(0, onnx.helper.make_node(operation, [name, "operand"], ["changed"]))
    onnx.save(graph, str(folder / RERANKER_GRAPH))
    write_manifest(folder)


@pytest.mark.parametrize("fault", ["activation", "length", "token types", "padding"])
def test_a_wrong_export_is_found(fault: str, folders: Path, copied: Path) -> None:
    assert failures_of(copied, folders / "model") == []
    if fault == "activation":
        changed(copied, activation="identity")
    elif fault == "length":
        changed(copied, max_tokens=40)
    elif fault == "token types":
        with_input(copied, "token_type_ids", "Mul", 0)
    else:
        with_input(copied, "attention_mask", "Max", 1)
    assert any("largest difference" in failure for failure in failures_of(copied, folders / "model"))


def test_scores_that_are_equal_or_missing_can_be_compared() -> None:
    equal = np.full(4, 0.5, np.float32)
    assert score_difference(equal, equal) == (0.0, 1.0)
    assert score_difference(equal, equal[:2]).largest == float("inf")
    scores = np.array([-20.0, 10.0, 4.0], np.float32)
    assert score_difference(scores, -scores).correlation == pytest.approx(-1)
    assert score_difference(scores, scores + np.float32(2)) == (pytest.approx(0.1), pytest.approx(1.0))


@pytest.mark.long
def test_a_certificate_compares_special_pairs_and_rankings(folders: Path, dataset: Path) -> None:
    model, sample = float32(folders / "model"), sample_of(DatasetSplit(Beir(dataset), "train"))
    folder, original = folders / "exported", folders / "model"
    report = certify_reranker(model, model, Onnx(), folder, original, sample)
    assert report.failures == () and not report.needs_torch
    assert {*report.differences} == {"special texts", "data set"}
    assert report.ranking is not None and report.ranking.queries == 20
    assert 0 < report.ranking.model == report.ranking.export
    assert report.bytes["export"] > 0 and report.milliseconds["export"]["p50"] > 0
    assert "correlation" in report.tables()[0].to_markdown()
    assert any("queries with up to 10 documents, 30 after 5" in note for note in report.notes)


@pytest.mark.long
def test_int8_scores_are_close_and_have_a_fingerprint_of_their_own(folders: Path, tmp_path: Path) -> None:
    format_ = Onnx(precision="int8")
    folder = exported(folders / "model", tmp_path / "int8", format_)
    assert failures_of(folder, folders / "model", format_) == []
    assert failures_of(folder, folders / "model")  # not as close as float32
    settings, exact = (read_json(one / ONNX_RERANKER) for one in (folder, folders / "exported"))
    assert settings["precision"] == "int8" and settings["fingerprint"] != exact["fingerprint"]
    assert not list(folder.glob("whole*"))
    sizes = [sum(file.stat().st_size for file in one.glob("model.onnx*")) for one in (folder, folders / "exported")]
    assert sizes[0] < sizes[1]


def test_arguments_that_an_export_does_not_support(folders: Path, tmp_path: Path) -> None:
    name = str(folders / "exported")
    with pytest.raises(RecipeError, match="precision: .* exported in float32, and cannot be used in bfloat16"):
        load_reranker(name, "bfloat16")
    with pytest.raises(RecipeError, match="device: ONNX Runtime does not support 'mps' here. It supports"):
        load_scorer(name, device="mps")
    with pytest.raises(RecipeError, match=r"pairs\[0\]: expected a query and a document"):
        load_reranker(name).score([("a",)])  # type: ignore[list-item]
    with pytest.raises(CheckpointError, match="is an exported re-ranker, which scores pairs .* Give an encoder"):
        Encoder.from_pretrained(name)
    with pytest.raises(CheckpointError, match="it is an export, which has no weights to train"):
        encloze.export(name, output=tmp_path / "out")
    with pytest.raises(CheckpointError, match="is an export, whose calibration is that of the model"):
        encloze.calibrate(name, toys.write_dataset(tmp_path / "data"), tmp_path, output=tmp_path / "out")
    (encoder := tmp_path / "encoder").mkdir()
    for file in ("config.json", ONNX_ENCODER):
        write_json(encoder / file, {})
    with pytest.raises(CheckpointError, match="is an exported encoder, and only exported re-rankers score pairs"):
        load_scorer(str(encoder))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encloze_onnx": 9}, "encloze_onnx is 9"),
        ({"max_tokens": 0}, "max_tokens must be a number of tokens, not 0"),
        ({"activation": "tanh"}, "activation must be identity or sigmoid, not 'tanh'"),
        ({"calibration": {"scores": [1.0]}}, "missing 1 required positional argument: 'probabilities'"),
        ({"calibration": [1.0]}, "'list' object has no attribute"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_settings_are_refused(copied: Path, values: dict[str, Any], message: str) -> None:
    changed(copied, **values)
    with pytest.raises(CheckpointError, match=message):
        load_reranker(str(copied))


def test_damaged_and_foreign_graphs_are_refused(copied: Path) -> None:
    graph = copied / RERANKER_GRAPH
    content = graph.read_bytes()
    graph.write_bytes(content[: len(content) // 2])  # half a download
    write_manifest(copied)
    with pytest.raises(CheckpointError, match=r"model\.onnx cannot be loaded: .*Export the model again"):
        load_reranker(str(copied))
    graph.write_bytes(content.replace(b"token_type_ids", b"token_kind_ids"))
    write_manifest(copied)
    with pytest.raises(CheckpointError, match="a graph of another program: it reads .*token_kind_ids"):
        load_reranker(str(copied))


def test_a_graph_that_computes_nan_is_refused(copied: Path) -> None:
    graph = onnx.load(str(copied / RERANKER_GRAPH), load_external_data=False)
    for node in graph.graph.node:
        node.output[:] = ["negative" if one == "logits" else one for one in node.output]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(np.nan, np.float32), "nan"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["negative", "nan"], ["logits"]))
    onnx.save(graph, str(copied / RERANKER_GRAPH))
    write_manifest(copied)
    with pytest.raises(CheckpointError, match="produces NaN or infinite values. Export the model again"):
        load_reranker(str(copied)).score(PAIRS[:1])


def test_a_classifier_with_several_labels_is_refused(folders: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders / "model", tmp_path / "classifier"))
    config = read_json(folder / "config.json") | {"id2label": {str(number): str(number) for number in range(3)}}
    write_json(folder / "config.json", config)
    with pytest.raises(CheckpointError, match="is a classifier with 3 labels, but a re-ranker has one output"):
        encloze.export(folder, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


ORIGINAL_WRITE = Onnx.write_reranker


@pytest.mark.slow
def test_the_command_exports_and_refuses(
    folders: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = folders / "model", tmp_path / "out"
    result = encloze.export(model, output=out, dataset=dataset, split="train")
    assert result.report.failures == () and result.next_command == "search"
    np.testing.assert_allclose(load_reranker(str(out)).score(PAIRS), float32(model).score(PAIRS), atol=1e-5)
    assert 'Retriever.load("my_index", reranker="out")' in (out / "README.md").read_text(encoding="utf-8")
    assert json.loads((out / "export_report.json").read_text(encoding="utf-8"))["failures"] == []

    def write_wrong(self: Onnx, model: CrossEncoder, folder: Path) -> None:
        ORIGINAL_WRITE(self, model, folder)
        changed(folder, activation="identity")

    with monkeypatch.context() as patched:
        patched.setattr(Onnx, "write_reranker", write_wrong)
        with pytest.raises(CheckpointError, match="the export differs from .*largest difference of scores"):
            encloze.export(model, output=tmp_path / "wrong")
        assert not (tmp_path / "wrong").exists()
        forced = encloze.export(model, output=tmp_path / "wrong", force=True)
    assert forced.report.failures
    assert "failed its checks" in (tmp_path / "wrong" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exported_exactly(family: str, tmp_path: Path) -> None:
    model = write_reranker(tmp_path / "model", family, "identity")
    folder = exported(model, tmp_path / "out")
    expected, found = float32(model).score(PAIRS), load_reranker(str(folder)).score(PAIRS)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
    assert failures_of(folder, model) == []

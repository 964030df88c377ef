"""Exported models: the same vectors as the model, without torch; and exports that differ are found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from filelock import FileLock

import encloze
import toys
from encloze import Encoder, Retriever
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.encoders.onnx import OnnxEncoder
from encloze.encoders.torch import TorchEncoder
from encloze.errors import CheckpointError, DataError, RecipeError, StaleIndexError
from encloze.exports._certificate import certify
from encloze.exports._report import ExportReport
from encloze.exports._samples import sample_of
from encloze.exports.onnx import Onnx
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.ordinary_tokens import OrdinaryTokens
from encloze.models.heads.sparse import Sparse
from encloze.models.layers.term_weights import max_logits, summed_term_weights
from encloze.storage.manifest import write_manifest
from encloze.storage.names import ONNX_ENCODER

pytestmark = pytest.mark.filterwarnings("ignore:.* were truncated to")
TEXTS = ["", "a", "where do rivers end", "river " * 90, "שלום 川 🙂 naïve", "[CLS] x [SEP] [PAD]"]
BOTH = EncoderConfig(
    (Dense("mean", True, dim=8), Sparse(document_top_k=20, query_top_k=20)), "query: ", "text: ", 40, 60
)


def bi_encoder(config: EncoderConfig, family: str = "bert") -> BiEncoder:
    made = toys.tokenizer()
    torch.manual_seed(3)
    model = BiEncoder(toys.encoder(family, made.vocab_size), made, config)
    model.precision, model.name, model.fingerprint = "float32", f"a {family}", "0123456789abcdef"
    return model.eval()


def exported(model: BiEncoder, folder: Path, format_: Onnx | None = None) -> OnnxEncoder:
    folder.mkdir()
    (format_ or Onnx()).write(model, folder)
    return OnnxEncoder(folder, "exported")


def assert_same(encoder: Encoder, expected: BiEncoder) -> None:
    pairs = [
        (encoder.represent_queries(TEXTS), expected.encode_queries(TEXTS)),
        (next(encoder.represent_documents(TEXTS, len(TEXTS))), expected.encode_documents(TEXTS)),
    ]
    for found, wanted in pairs:
        if wanted.dense is not None:
            np.testing.assert_allclose(found.dense, wanted.dense, atol=2e-5)
        if wanted.sparse is not None:
            np.testing.assert_allclose(found.sparse.toarray(), wanted.sparse.toarray(), atol=2e-5)
        assert (found.dense is None, found.sparse is None) == (wanted.dense is None, wanted.sparse is None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an exported model with both kinds of vectors, which tests must not change."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "exported"  # one for all processes
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            staging = tmp_path_factory.mktemp("export") / "exported"
            exported(bi_encoder(BOTH), staging)
            write_manifest(staging)
            staging.rename(folder)
    return folder


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of an exported model."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def changed(folder: Path, **values: Any) -> None:
    """Change settings of an exported model."""
    file = folder / ONNX_ENCODER
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")
    write_manifest(folder)


@pytest.mark.long
def test_an_exported_model_computes_the_same_vectors(folder: Path) -> None:
    encoder = Encoder.from_pretrained(folder)
    assert isinstance(encoder, OnnxEncoder)
    assert_same(encoder, bi_encoder(BOTH))
    assert encoder.fingerprint == "0123456789abcdef"
    assert encoder.views == bi_encoder(BOTH).views
    assert encoder.similarity == bi_encoder(BOTH).similarity
    assert encoder.term_names([4, 5]) == TorchEncoder(bi_encoder(BOTH)).term_names([4, 5])
    assert encoder.arithmetic == "float32 on cpu (ONNX Runtime)"
    assert encoder.represent_queries([]).dense.shape == (0, 8)


def test_an_exported_model_needs_no_torch(folder: Path, tmp_path: Path) -> None:
    documents = [{"id": "1", "text": "Rivers flow into the sea."}, {"id": "2", "text": "Engines need fuel."}]
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import encloze; "
        f"retriever = encloze.Retriever.build({documents!r}, {str(folder)!r}, output={str(tmp_path / 'index')!r}); "
        f"print([[hit.id, hit.score] for hit in retriever.search('rivers', 2)])"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(done.stdout.replace("'", '"')))
    retriever = Retriever.load(tmp_path / "index", encoder=folder)
    assert {hit.id: hit.score for hit in retriever.search("rivers", 2)} == pytest.approx(found)
    with_torch = TorchEncoder(bi_encoder(BOTH))  # float32: the same fingerprint
    assert {hit.id for hit in Retriever.load(tmp_path / "index", encoder=with_torch).search("rivers", 2)} == set(found)


def test_commands_with_an_exported_model_need_no_torch(folder: Path, dataset: Path, tmp_path: Path) -> None:
    commands = [
        ["index", "--model", str(folder), "--corpus", str(dataset), "--output", "index"],
        ["encode", "--model", str(folder), "--corpus", str(dataset), "--output", "vectors"],
        ["evaluate", "--systems", f"bm25,{folder},index", "--dataset", str(dataset), "--split", "test"],
        ["delete", "--index", "index", "--filter", "id == 'library-history'"],
        ["verify", "index"],
    ]
    code = (
        "import json, sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        "from encloze.cli.main import main; sys.exit(sum(main(command) for command in json.loads(sys.argv[1])))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    call = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nDCG@10" in done.stdout and "is intact" in done.stdout


def test_a_copy_of_an_export_can_be_loaded(folder: Path, tmp_path: Path) -> None:
    Encoder.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    write_manifest(tmp_path / "saved")
    assert_same(Encoder.from_pretrained(tmp_path / "saved"), bi_encoder(BOTH))


def test_arguments_that_an_export_does_not_support(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="precision: .* exported in float32, and cannot be used in bfloat16"):
        Encoder.from_pretrained(folder, precision="bfloat16")
    with pytest.raises(RecipeError, match="device: ONNX Runtime does not support 'mps' here. It supports"):
        Encoder.from_pretrained(folder, device="mps")
    model = toys.write_model(tmp_path / "model", views=("dense",))
    with pytest.raises(CheckpointError, match=f"has no {ONNX_ENCODER}"):
        Encoder.from_pretrained(model, backend="onnx")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encloze_onnx": 9}, "encloze_onnx is 9"),
        ({"views": {}}, "views must be"),
        ({"prompts": {"query": ""}}, "prompts must have the keys"),
        ({"graphs": {"query": "../q.onnx", "document": "d.onnx"}}, "names of files in the folder"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
        ({"graphs": {"query": "missing.onnx", "document": "missing.onnx"}}, "missing.onnx cannot be loaded"),
        ({"views": {"dense": 8, "sparse": 99, "third": 1}}, "views must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_settings_are_refused(copied: Path, values: dict[str, Any], message: str) -> None:
    changed(copied, **values)
    with pytest.raises(CheckpointError, match=message):
        Encoder.from_pretrained(copied).encode_queries(["a"])


def test_damaged_and_foreign_graphs_are_refused(copied: Path) -> None:
    graph = copied / "model.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[: len(content) // 2])  # half a download
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        Encoder.from_pretrained(copied)
    write_manifest(copied)
    with pytest.raises(CheckpointError, match=r"model\.onnx cannot be loaded: .*Export the model again"):
        Encoder.from_pretrained(copied).encode_queries(["a"])
    graph.write_bytes(foreign_graph())
    write_manifest(copied)
    with pytest.raises(CheckpointError, match="a graph of another program: it reads pixels and returns label"):
        Encoder.from_pretrained(copied).encode_queries(["a"])


def foreign_graph() -> bytes:
    from onnx import TensorProto, helper

    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("pixels", "label")]
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["label"])], "other", shapes[:1], shapes[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def report_on(folder: Path, model: BiEncoder, format_: Onnx | None = None) -> ExportReport:
    return certify(TorchEncoder(model), TorchEncoder(model), format_ or Onnx(), folder, folder, None)


@pytest.mark.long
def test_a_certificate_passes_an_exact_export_and_fails_a_lost_prompt(copied: Path) -> None:
    report = report_on(copied, bi_encoder(BOTH))
    assert report.failures == ()
    assert not report.needs_torch
    assert {*report.differences} == {
        f"{kind}, {side}" for kind in ("dense", "sparse") for side in ("queries", "documents")
    }
    assert all(one.largest < 1e-5 and one.lowest_cosine > 0.99999 for one in report.differences.values())
    changed(copied, prompts={"query": "", "document": "text: "})
    failures = report_on(copied, bi_encoder(BOTH)).failures
    assert {failure.partition(":")[0] for failure in failures} == {"dense, queries", "sparse, queries"}


def test_a_ranking_needs_judged_queries(dataset: Path) -> None:
    lines = (dataset / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (dataset / "qrels" / "few.tsv").write_text("".join(lines[:3]), encoding="utf-8")
    with pytest.raises(DataError, match="2 queries of the split 'few' have relevant documents. At least 20"):
        sample_of(DatasetSplit(Beir(dataset), "few"))
    assert len(sample_of(DatasetSplit(Beir(dataset), "train")).queries) >= 20


def test_an_index_of_another_model_is_refused(copied: Path, tmp_path: Path) -> None:
    retriever = Retriever.build([{"id": "1", "text": "Rivers flow."}], copied, output=tmp_path / "index")
    assert [hit.id for hit in retriever.search("rivers")] == ["1"]
    changed(copied, fingerprint="fedcba9876543210")
    with pytest.raises(StaleIndexError):
        Retriever.load(tmp_path / "index")


@pytest.mark.slow
def test_the_command_exports_and_refuses(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toys.write_model(tmp_path / "model", views=("dense",))
    result = encloze.export(model, output=tmp_path / "out", dataset=dataset, split="train")
    assert result.report.failures == ()
    assert result.report.ranking is not None and result.report.ranking.model == result.report.ranking.export
    assert "Certificate" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "export_report.json").read_text(encoding="utf-8"))["failures"] == []
    assert_same(Encoder.from_pretrained(tmp_path / "out"), BiEncoder.load(str(model), precision="float32"))
    with monkeypatch.context() as patched:
        patched.setattr(Onnx, "write", lambda self, model, folder: written_with(model, folder, pooling="max"))
        with pytest.raises(CheckpointError, match="the export differs from .*lowest cosine"):
            encloze.export(model, output=tmp_path / "wrong")
        assert not (tmp_path / "wrong").exists()
        forced = encloze.export(model, output=tmp_path / "wrong", force=True)
    assert forced.report.failures
    assert "failed its checks" in (tmp_path / "wrong" / "README.md").read_text(encoding="utf-8")


ORIGINAL_WRITE = Onnx.write


def written_with(model: BiEncoder, folder: Path, **dense: Any) -> None:
    """Export a model with another dense head."""
    heads = tuple(replace(head, **dense) if isinstance(head, Dense) else head for head in model.config.heads)
    other = BiEncoder(model.backbone, model.tokenizer, replace(model.config, heads=heads))
    other.head_modules = model.head_modules
    other.name, other.fingerprint = model.name, model.fingerprint
    ORIGINAL_WRITE(Onnx(), other.eval(), folder)


FAMILIES = ["bert", "roberta", "xlm_roberta", "mpnet", "distilbert", "deberta_v2", "electra", "modernbert"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exported_exactly(family: str, tmp_path: Path) -> None:
    model = bi_encoder(BOTH, family)
    assert_same(exported(model, tmp_path / "out"), model)


CONFIGS = {
    "cls": EncoderConfig((Dense("cls", False),), max_document_tokens=60, max_query_tokens=60),
    "max": EncoderConfig((Dense("max", True),), max_query_tokens=60, max_document_tokens=60),
    "cosine": EncoderConfig((Dense("mean", False),), cosine=True, max_document_tokens=60),
    "tanh": EncoderConfig((Dense("mean", False, 8, True, "tanh"),), max_document_tokens=60),
    "sum": EncoderConfig((Sparse(pooling="sum", pool_special_tokens=False),), max_document_tokens=60),
    "term weighting": EncoderConfig(
        (Sparse(query_encoding="term_weighting", document_encoding="term_weighting"),), "q: ", max_document_tokens=60
    ),
    "inference-free": EncoderConfig((Sparse(query_encoding="bag_of_words"),), "q: ", max_document_tokens=60),
    "logit bias": EncoderConfig((Sparse(query_logit_bias=-0.1, document_logit_bias=-0.2),), max_document_tokens=60),
    "ordinary tokens": EncoderConfig((Dense("cls", False, dim=4), OrdinaryTokens()), max_document_tokens=60),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_head_is_exported_exactly(name: str, tmp_path: Path) -> None:
    model = bi_encoder(CONFIGS[name])
    assert_same(exported(model, tmp_path / "out"), model)
    if name == "cls":  # only what is read
        (graph,) = (tmp_path / "out").glob("*.onnx")
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        assert {one.name for one in session.get_inputs()} == {"input_ids", "attention_mask"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["pooling", "normalization", "head", "padding", "projection", "length"])
def test_a_wrong_export_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bi_encoder(BOTH)
    (folder := tmp_path / "out").mkdir()
    if fault == "pooling":
        written_with(model, folder, pooling="cls")
    elif fault == "normalization":
        written_with(model, folder, normalize=False)
    elif fault == "head":  # no longer tied to the token embeddings
        other = bi_encoder(BOTH)
        with torch.no_grad():
            decoder = other.backbone.mlm_head().decoder
            decoder.weight = torch.nn.Parameter(decoder.weight + 0.05 * torch.randn_like(decoder.weight))
        Onnx().write(other, folder)
    elif fault == "projection":
        other = bi_encoder(BOTH)
        torch.nn.init.eye_(other.head_modules["dense"].weight)  # type: ignore[arg-type]
        Onnx().write(other, folder)
    elif fault == "padding":
        real = BiEncoder.forward

        def forward(self: BiEncoder, texts: Any, side: Any) -> Any:
            return real(self, texts._replace(attention_mask=torch.ones_like(texts.attention_mask)), side)

        with monkeypatch.context() as patched:
            patched.setattr(BiEncoder, "forward", forward)
            Onnx().write(model, folder)
    else:
        Onnx().write(model, folder)
        changed(folder, max_tokens={"query": 40, "document": 30})
    write_manifest(folder)
    assert report_on(folder, model).failures


@pytest.mark.slow
def test_int8_is_smaller_and_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    model = bi_encoder(BOTH)
    exact, rounded = exported(model, tmp_path / "exact"), exported(model, tmp_path / "int8", Onnx(precision="int8"))
    assert rounded.fingerprint != exact.fingerprint
    assert rounded.arithmetic == "int8 on cpu (ONNX Runtime)"
    vectors = [encoder.represent_queries(TEXTS).dense for encoder in (exact, rounded)]
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    assert cosines.min() > 0.9 and cosines.min() < 1
    assert not list((tmp_path / "int8").glob("whole*"))


@pytest.mark.parametrize("pooled", [max_logits, summed_term_weights])
def test_all_texts_at_once_equal_a_loop_over_texts(pooled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head = bi_encoder(BOTH).backbone.mlm_head()
    hidden, positions = torch.randn(3, 7, 32), torch.rand(3, 7) > 0.3
    positions[:, 0] = True
    with torch.no_grad():
        looped = pooled(hidden, positions, head, -0.1)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(pooled(hidden, positions, head, -0.1), looped)

"""Exports for sentence-transformers: the library computes the vectors and scores of the model, and faults are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import encloze
import toys
from encloze import Encoder
from encloze.calibration import Calibration
from encloze.encoders import sentence_transformers as backend_module
from encloze.encoders.base import EncoderBackend, load_reranker
from encloze.encoders.torch import TorchEncoder
from encloze.errors import CheckpointError, MissingExtraError, RecipeError
from encloze.exports._certificate import certify, compare_similarities, compare_vectors
from encloze.exports._reranker_certificate import score_difference, special_pairs
from encloze.exports._samples import LONG, TEXTS
from encloze.exports.base import ExportFormat
from encloze.exports.cross_encoder import CrossEncoderFolder
from encloze.exports.sentence_transformers import SentenceTransformers
from encloze.exports.sparse_encoder import SparseEncoder
from encloze.models.bi_encoder import BiEncoder
from encloze.models.card import model_card
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.ordinary_tokens import OrdinaryTokens
from encloze.models.heads.sparse import Sparse
from encloze.storage.json_files import read_json, write_json

pytestmark = pytest.mark.filterwarnings("ignore:.* were truncated to")
SIDES: dict[str, Any] = {
    "query_prompt": "query: ",
    "document_prompt": "text: ",
    "max_query_tokens": 20,
    "max_document_tokens": 60,
}
CALIBRATION = Calibration((0.0, 0.5, 1.0), (0.1, 0.2, 0.9))
CONFIGS: dict[str, tuple[EncoderConfig, type[ExportFormat]]] = {
    "mean": (EncoderConfig((Dense("mean", True),), **SIDES), SentenceTransformers),
    "cls, dot": (EncoderConfig((Dense("cls", False, weight=2.0),), **SIDES), SentenceTransformers),
    "max, cosine": (EncoderConfig((Dense("max", False),), cosine=True, **SIDES), SentenceTransformers),
    "tanh": (EncoderConfig((Dense("mean", True, 8, True, "tanh"),), **SIDES), SentenceTransformers),
    "long queries": (
        EncoderConfig((Dense("mean", True),), max_query_tokens=60, max_document_tokens=20),
        SentenceTransformers,
    ),
    "both, dense": (EncoderConfig((Dense("mean", True, 8), Sparse()), **SIDES), SentenceTransformers),
    "both, sparse": (EncoderConfig((Dense("mean", False), Sparse()), cosine=True, **SIDES), SparseEncoder),
    "sparse sum": (EncoderConfig((Sparse(pooling="sum", top_k_in_training=True),), **SIDES), SparseEncoder),
}


@pytest.fixture(autouse=True)
def sentence_transformers() -> None:
    """Skip the tests if sentence-transformers is not installed; it is not imported before the tests run."""
    pytest.importorskip("sentence_transformers")


def bi_encoder(config: EncoderConfig, family: str = "bert") -> BiEncoder:
    made = toys.tokenizer()
    torch.manual_seed(3)
    model = BiEncoder(toys.encoder(family, made.vocab_size), made, config)
    model.precision, model.name = "float32", f"a {family}"
    return model.eval()


def exported(model: BiEncoder, format_: ExportFormat, folder: Path) -> BiEncoder:
    """Write an export, and return the encoder whose vectors it must compute."""
    part = format_.expressible(model)
    folder.mkdir()
    format_.write(part, folder)
    return part


def failures(part: BiEncoder, folder: Path, format_: ExportFormat, backend: str = "sentence_transformers") -> list[str]:
    """Return the bounds that an export does not keep, in this process."""
    texts = [*TEXTS, *LONG]
    encoders = TorchEncoder(part), Encoder.from_pretrained(folder, backend=backend, device="cpu", precision="float32")
    expected, found = (
        (one.represent_queries(texts), next(one.represent_documents(texts, len(texts)))) for one in encoders
    )
    differences = compare_vectors(expected, found)
    messages = [message for name, one in differences.items() for message in one.failures(name, format_.bounds)]
    if not messages:
        messages = compare_similarities(encoders[0].similarity(*found), encoders[1].similarity(*found))
    return messages


# Encoders


@pytest.mark.parametrize(
    ("name", "layout"),
    [(name, "new") for name in CONFIGS] + [(name, "old") for name in ("both, dense", "both, sparse", "long queries")],
)
def test_the_library_and_encloze_compute_the_vectors_of_the_model(name: str, layout: str, tmp_path: Path) -> None:
    config, member = CONFIGS[name]
    model, format_ = bi_encoder(config), member(layout=layout)  # type: ignore[call-arg]
    part = exported(model, format_, tmp_path / "out")
    assert failures(part, tmp_path / "out", format_) == []
    assert failures(part, tmp_path / "out", format_, "torch") == []
    own, view = model.encode_documents(TEXTS), "sparse" if member is SparseEncoder else "dense"
    assert abs(getattr(own, view) - getattr(part.encode_documents(TEXTS), view)).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("family", ["roberta", "xlm_roberta", "mpnet", "distilbert", "deberta_v2", "modernbert"])
def test_every_family_is_exported_exactly(family: str, tmp_path: Path) -> None:
    for name in ("both, dense", "both, sparse"):
        config, member = CONFIGS[name]
        part = exported(bi_encoder(config, family), member(), tmp_path / name)
        assert failures(part, tmp_path / name, member()) == []
        assert failures(part, tmp_path / name, member(), "torch") == []


def test_what_an_export_lacks_is_stated() -> None:
    config, _ = CONFIGS["both, dense"]
    assert SentenceTransformers(layout="new").limitations(bi_encoder(config)) == [
        "the sparse vectors of the model; only the dense vectors are exported and compared"
    ]
    (note,) = SentenceTransformers().limitations(bi_encoder(CONFIGS["mean"][0]))
    assert "queries are truncated at 60 tokens, the limit of documents, and not at 20" in note
    assert SentenceTransformers(layout="new").limitations(bi_encoder(CONFIGS["mean"][0])) == []
    assert "weight 2 " in SentenceTransformers(layout="new").limitations(bi_encoder(CONFIGS["cls, dot"][0]))[0]


def test_a_new_folder_has_what_version_6_saves_and_its_card_shows_the_class(tmp_path: Path) -> None:
    for name, title in (("both, dense", "SentenceTransformer"), ("both, sparse", "SparseEncoder")):
        config, member = CONFIGS[name]
        exported(bi_encoder(config), member(layout="new"), tmp_path / title)
        settings = read_json(tmp_path / title / "sentence_bert_config.json")
        assert (settings["query_length"], settings["document_length"]) == (20, 60)
        modules = json.loads((tmp_path / title / "modules.json").read_text(encoding="utf-8"))
        assert all(".modules." in module["type"] for module in modules)
        card = member(layout="new").model_card(tmp_path / title, "out", "minilm", is_reranker=False)
        assert f'model = {title}("out")' in card and "A text encoder, exported from minilm" in card
        assert "for versions 6 and newer of sentence-transformers" in card
    assert SparseEncoder().versions == "5 to 6"


def edit(name: str, **values: Any) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / name, read_json(folder / name) | values)


def without_module(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        write_json(folder / "modules.json", [one for one in modules if not one["type"].endswith(kind)])

    return change


def untied(folder: Path) -> None:
    """Give the MLM head a matrix of its own, in place of the token embeddings."""
    weights = load_file(folder / "model.safetensors")
    matrix = next(value for name, value in weights.items() if name.endswith("word_embeddings.weight"))
    weights["cls.predictions.decoder.weight"] = matrix + 0.05 * torch.randn_like(matrix)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit("config.json", tie_word_embeddings=False)(folder)


def random_projection(folder: Path) -> None:
    file = folder / "2_Dense" / "model.safetensors"
    save_file({name: torch.randn_like(value) for name, value in load_file(file).items()}, file)


SAVED = "config_sentence_transformers.json"
FAULTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "pooling": ("both, dense", edit("1_Pooling/config.json", pooling_mode="cls"), "dense, documents"),
    "normalization": ("mean", without_module("Normalize"), "dense, queries"),
    "prompt": ("both, dense", edit(SAVED, prompts={"query": "", "document": "text: "}), "dense, queries"),
    "projection lost": ("both, dense", without_module("Dense"), "dense, documents"),
    "projection changed": ("both, dense", random_projection, "dense, documents"),
    "length of queries": ("mean", edit("sentence_bert_config.json", query_length=60), "dense, queries"),
    "length of documents": ("mean", edit("sentence_bert_config.json", document_length=30), "dense, documents"),
    "similarity": ("max, cosine", edit(SAVED, similarity_fn_name="dot"), "the similarity function"),
    "head untied": ("both, sparse", untied, "sparse, documents"),
    "sparse activation": (
        "both, sparse",
        edit("1_SpladePooling/config.json", activation_function="log1p_relu"),
        "sparse, queries",
    ),
    "sparse pooling": ("sparse sum", edit("1_SpladePooling/config.json", pooling_strategy="max"), "sparse, documents"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_export_is_found(fault: str, tmp_path: Path) -> None:
    name, change, message = FAULTS[fault]
    config, member = CONFIGS[name]
    format_ = member(layout="new")  # type: ignore[call-arg]
    part = exported(bi_encoder(config), format_, tmp_path / "out")
    change(tmp_path / "out")
    assert any(message in failure for failure in failures(part, tmp_path / "out", format_))


def test_models_that_a_format_cannot_express_are_refused() -> None:
    dense, both = (bi_encoder(CONFIGS[name][0]) for name in ("mean", "both, dense"))
    with pytest.raises(CheckpointError, match="has no sparse head, so it cannot be exported as sparse_encoder"):
        SparseEncoder().expressible(dense)
    with pytest.raises(CheckpointError, match="is an encoder, and the format cross_encoder exports only re-rankers"):
        CrossEncoderFolder().expressible(dense)
    for head, listed in (
        (Sparse(query_encoding="bag_of_words", document_top_k=9), "document_top_k: 9, query_encoding: bag_of_words"),
        (Sparse(query_logit_bias=-0.1), "query_logit_bias: -0.1"),
        (OrdinaryTokens(), "type: ordinary_tokens"),
    ):
        other = bi_encoder(replace(both.config, heads=(Dense("mean", True), head)))
        with pytest.raises(CheckpointError, match=f"none of these settings of its sparse head: {listed}. The format"):
            SparseEncoder().expressible(other)
    with pytest.raises(CheckpointError, match="has no dense head, so it cannot be exported as sentence_transformers"):
        SentenceTransformers().expressible(bi_encoder(CONFIGS["sparse sum"][0]))


# Re-rankers


def cross_encoder(folder: Path, activation: str = "sigmoid") -> CrossEncoder:
    """Return a re-ranker with random weights, whose scores vary as much as those of a trained one."""
    folder.mkdir(parents=True)
    made = toys.tokenizer()
    toys.encoder("bert", made.vocab_size).save(folder)
    made.save(folder, 64)
    torch.manual_seed(0)
    model = CrossEncoder.load(str(folder), max_tokens=48, device="cpu")
    with torch.no_grad():
        next(weight for weight in model.parameters() if len(weight) == 1 and weight.ndim == 2).mul_(30)
    model.activation, model.precision = activation, "float32"  # type: ignore[assignment]
    model.calibration = CALIBRATION
    return model


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
def test_the_library_computes_the_scores_of_a_re_ranker(activation: str, tmp_path: Path) -> None:
    model, format_, folder = cross_encoder(tmp_path / "model", activation), CrossEncoderFolder(), tmp_path / "out"
    folder.mkdir()
    format_.write_reranker(model, folder)
    backend, pairs = EncoderBackend.member("sentence_transformers")(), special_pairs()
    expected = model.score(pairs)
    assert np.ptp(expected) > 0.3

    def messages() -> list[str]:
        reranker = backend.load_reranker(str(folder), device="cpu", precision="float32")
        return list(score_difference(expected, reranker.score(pairs)).failures("pairs", format_.score_bounds))

    assert messages() == []
    reranker = backend.load_scorer(str(folder), device="cpu", precision="auto")
    assert reranker.score([]).shape == (0,)
    own = load_reranker(str(folder))
    assert own.calibration == CALIBRATION and own.activation == activation
    assert "the calibration" in format_.limitations(model)[0]
    other = {"sigmoid": "linear.Identity", "identity": "activation.Sigmoid"}[activation]
    correct = read_json(folder / "config.json")
    edit("config.json", sentence_transformers={"activation_fn": f"torch.nn.modules.{other}"})(folder)
    assert any("largest difference" in message for message in messages())
    write_json(folder / "config.json", correct)
    assert messages() == []
    edit("tokenizer_config.json", model_max_length=30)(folder)
    assert messages()


def test_a_re_ranker_cannot_be_exported_as_an_encoder(tmp_path: Path) -> None:
    model = cross_encoder(tmp_path / "model")
    for member in (SentenceTransformers, SparseEncoder):
        with pytest.raises(CheckpointError, match=f"re-ranker, and the format {member.name} exports only encoders"):
            member().write_reranker(model, tmp_path)


# The backend


def test_the_backend_has_the_interface_of_encoders(tmp_path: Path) -> None:
    part = exported(bi_encoder(CONFIGS["both, sparse"][0]), SparseEncoder(), tmp_path / "out")
    encoder = Encoder.from_pretrained(tmp_path / "out", backend="sentence_transformers", device="cpu")
    assert encoder.views == part.views and encoder.name == str(tmp_path / "out")
    with_bfloat16 = Encoder.from_pretrained(
        tmp_path / "out", backend="sentence_transformers", device="cpu", precision="bfloat16"
    )
    assert with_bfloat16.arithmetic == "bfloat16 on cpu (sentence-transformers)"
    assert with_bfloat16.encode_queries(["a"]).dtype == np.float32
    assert encoder.arithmetic == "float32 on cpu (sentence-transformers)"
    assert encoder.term_names([4, 5]) == TorchEncoder(part).term_names([4, 5])
    assert encoder.represent_queries([]).sparse.shape == (0, part.views["sparse"])
    for side in ("query", "document"):
        assert encoder.count_tokens(TEXTS, side) == part.count_tokens(TEXTS, side)
    encoder.save_pretrained(tmp_path / "copy")
    assert failures(part, tmp_path / "copy", SparseEncoder()) == []
    other = Encoder.from_pretrained(tmp_path / "copy", backend="sentence_transformers")
    assert len(encoder.fingerprint) == len(other.fingerprint) == 16


def test_folders_that_the_backend_does_not_support_are_refused(tmp_path: Path) -> None:
    model = toys.write_model(tmp_path / "plain")
    backend = EncoderBackend.member("sentence_transformers")()
    with pytest.raises(CheckpointError, match=r"has no modules.json, so it is no encoder of sentence-transformers"):
        backend.load(str(model), device="cpu", precision="auto")
    with pytest.raises(CheckpointError, match="is an encoder, and only re-rankers score pairs"):
        backend.load_reranker(str(model), device="cpu", precision="auto")
    exported(bi_encoder(CONFIGS["mean"][0]), SentenceTransformers(), folder := tmp_path / "out")
    edit(SAVED, similarity_fn_name="euclidean")(folder)
    with pytest.raises(CheckpointError, match="similarity_fn_name is euclidean"):
        backend.load(str(folder), device="cpu", precision="auto")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "unknown"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be loaded as a SentenceTransformer of sentence-transformers"):
        backend.load(str(folder), device="cpu", precision="auto")


def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "importable", lambda *_: SimpleNamespace(__version__="5.1.2"))
    with pytest.raises(MissingExtraError, match=r"6 or newer, but 5.1.2 is installed. .*encloze\[export\]"):
        backend_module.import_library()
    with pytest.raises(RecipeError, match="backend: unknown encoder backend 'sentence_transformer'"):
        Encoder.from_pretrained("minilm", backend="sentence_transformer")


# The command


@pytest.mark.slow
def test_the_command_exports_and_refuses(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toys.write_model(tmp_path / "model", views=("dense", "sparse"))
    for format_ in ("sentence_transformers", "sparse_encoder"):
        out = tmp_path / format_
        result = encloze.export(model, output=out, format=format_, dataset=dataset, split="train")
        assert result.report.failures == () and result.report.needs_torch
        assert result.report.ranking is not None and result.report.ranking.model == result.report.ranking.export
        card = (out / "README.md").read_text(encoding="utf-8")
        assert "## Certificate" in card and "- not exported: the " in card
        assert encloze.verify(out)
        again = encloze.export(out, output=tmp_path / f"{format_}-again", format=format_)
        assert again.report.failures == ()
    onnx = encloze.export(model, output=tmp_path / "onnx")
    with pytest.raises(CheckpointError, match="it is an export, which has no weights to train"):
        encloze.export(onnx.folder, output=tmp_path / "out", format="sentence_transformers")


@pytest.mark.slow
def test_a_certificate_in_a_new_process_finds_a_lost_prompt_and_another_similarity(tmp_path: Path) -> None:
    part = exported(bi_encoder(CONFIGS["max, cosine"][0]), SentenceTransformers(), folder := tmp_path / "out")
    encoder = TorchEncoder(part)
    assert certify(encoder, encoder, SentenceTransformers(), folder, folder, None).failures == ()
    edit(SAVED, prompts={"query": "", "document": "text: "}, similarity_fn_name="dot")(folder)
    found = certify(encoder, encoder, SentenceTransformers(), folder, folder, None).failures
    assert {message.partition(":")[0] for message in found} == {"dense, queries", "the similarity function"}


@pytest.mark.slow
def test_the_command_exports_a_re_ranker(dataset: Path, tmp_path: Path) -> None:
    model, folder = cross_encoder(tmp_path / "start"), tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    write_json(folder / "reranker.json", read_json(folder / "reranker.json") | {"calibration": asdict(CALIBRATION)})
    result = encloze.export(folder, output=tmp_path / "out", format="cross_encoder", dataset=dataset, split="train")
    assert result.report.failures == () and result.next_command == "search"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert 'model = CrossEncoder("out")' in card and "not exported: the calibration" in card
    assert "A re-ranker, exported from model" in model_card(
        tmp_path / "out", "out", "exported from model", pipeline_tag="text-ranking"
    )

"""Loading of model folders: weights, tokens, versions, decoders, and code that must not run."""

from __future__ import annotations

import builtins
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import toys
from encloze import Encoder
from encloze.backbones.hf.generation import TextGenerationModel
from encloze.errors import CheckpointError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import load_checkpoint
from encloze.models.classifier import Classifier
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.foreign_settings import read_encoder_settings
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.models.origins.pretrained import Pretrained
from encloze.text.tokenizer import Tokenizer

HEAD = "cls.predictions.transform.dense.weight"


def edit(file: Path, **changes: Any) -> None:
    """Set fields of a JSON file."""
    values = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    file.write_text(json.dumps(values | changes), encoding="utf-8")


def remove_weights(folder: Path, *names: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if name not in names}
    assert len(kept) == len(weights) - len(names)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


# Weights


def test_a_sparse_model_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "sparse", views=("sparse",))
    remove_weights(folder, HEAD)
    with pytest.raises(CheckpointError, match=r"needs .*head for masked language modeling, but .* no weights of such"):
        Encoder.from_pretrained(folder, device="cpu")


def test_a_new_head_is_started_for_training_only(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "sparse", views=("sparse",))
    remove_weights(folder, HEAD)
    start = Pretrained(str(folder)).load(lambda: iter([]), require_mlm_head=True, seed=0)
    assert start.backbone.mlm_head_is_new
    dense = toys.write_model(tmp_path / "dense", views=("dense",))
    remove_weights(dense, HEAD)
    assert not BiEncoder.load(str(dense), device="cpu").backbone.has_mlm_head


def test_weights_in_a_file_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    for name in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "a/b.safetensors"):
        edit(folder / "model.safetensors.index.json", weight_map={"bert.x": name})
        with pytest.raises(CheckpointError, match=r"weight_map names '.*', which is not a file of this folder"):
            Encoder.from_pretrained(folder, device="cpu")


def test_every_loader_checks_that_tokens_have_embeddings(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model")
    tokenizer = Tokenizer.load(folder)
    tokenizer.backend.add_tokens(["unheardof"])
    tokenizer.save(folder, 64)
    for load in (
        lambda: Encoder.from_pretrained(folder, device="cpu"),
        lambda: CrossEncoder.load(str(folder), device="cpu"),
        lambda: Pretrained(str(folder)).load(lambda: iter([]), require_mlm_head=False, seed=0),
    ):
        with pytest.raises(CheckpointError, match=r"the token 'unheardof' with the id \d+, but .* embeddings of \d+"):
            load()


def test_weights_of_heads_that_the_model_does_not_have_are_refused(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model")
    config = EncoderConfig((Dense("cls", False, dim=8),), max_document_tokens=64)
    encoder = BiEncoder(load_checkpoint(folder, require_mlm_head=False).backbone, toys.tokenizer(), config)
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    heads = load_file(tmp_path / "saved" / "heads.safetensors")
    save_file(heads | {"other.weight": torch.zeros(2)}, tmp_path / "saved" / "heads.safetensors")
    with pytest.raises(CheckpointError, match=r"heads.safetensors has weights that no head .* \(other.weight\)"):
        Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    save_file({name: value[:4] for name, value in heads.items()}, tmp_path / "saved" / "heads.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks weights of the heads \(dense.weight\)"):
        Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    (tmp_path / "saved" / "heads.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"heads.safetensors is damaged"):
        Encoder.from_pretrained(tmp_path / "saved", device="cpu")


# Files of encloze


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encloze": 99}, "encloze is 99, but this version of encloze reads 1"),
        ({"heads": [{"type": "dense", "pooling": "nope"}]}, "pooling must be cls, mean, max, not 'nope'"),
        ({"heads": [{"type": "dense", "normalize": "yes"}]}, "normalize must be true or false, not 'yes'"),
        ({"query_prompt": 3}, "query_prompt must be of type str, not 3"),
        ({"max_query_tokens": 0}, "max_query_tokens must be an integer of 1 or more, not 0"),
        ({"max_document_tokens": "9"}, "max_document_tokens must be an integer of 1 or more, not '9'"),
        ({"cosine": 1}, "cosine must be of type bool, not 1"),
        ({"heads": 4}, "is malformed"),
        ({"unknown": 4}, "unknown"),
    ],
)
def test_values_of_encloze_json_are_checked(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model", views=("dense",))
    edit(folder / "encloze.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        Encoder.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encloze": 99}, "encloze is 99, but this version of encloze reads 1"),
        ({"max_tokens": -1}, "max_tokens is -1, not a number of tokens"),
        ({"activation": "tanh"}, "activation is 'tanh', not one of identity, sigmoid"),
        ({"calibration": {"nope": [1]}}, "calibration is malformed"),
        ({"calibration": [1]}, "calibration is malformed"),
    ],
)
def test_values_of_reranker_json_are_checked(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    CrossEncoder.load(str(toys.write_model(tmp_path / "model")), device="cpu").save_pretrained(tmp_path / "reranker")
    (tmp_path / "reranker" / "manifest.json").unlink(missing_ok=True)
    edit(tmp_path / "reranker" / "reranker.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        CrossEncoder.from_pretrained(str(tmp_path / "reranker"), device="cpu")


def test_cosine_of_embeddings_that_are_not_normalized_is_saved_and_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model")
    EncoderConfig((Dense("cls", False),), max_document_tokens=64).write(folder)
    inner = Encoder.from_pretrained(folder, device="cpu", precision="float32")
    config = EncoderConfig((Dense("cls", False),), max_document_tokens=64, cosine=True)
    config.write(folder)
    cosine = Encoder.from_pretrained(folder, device="cpu", precision="float32")
    texts = ["a river", "an engine"]
    vectors = cosine.encode_queries(texts)
    np.testing.assert_allclose(vectors, inner.encode_queries(texts))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(cosine.similarity(vectors, vectors), unit @ unit.T, atol=1e-6)
    assert cosine.fingerprint != inner.fingerprint
    assert config.normalized() == EncoderConfig((Dense("cls", True),), max_document_tokens=64)
    cosine.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "encloze.json").unlink()
    assert read_encoder_settings(tmp_path / "saved").cosine


# Decoders


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_decoders_are_refused_if_no_file_states_a_pooling_method(kind: str, tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "decoder", kind)
    with pytest.raises(CheckpointError, match=rf"is a decoder \({kind}\), .* no file of it states a pooling method"):
        Encoder.from_pretrained(folder, device="cpu")
    EncoderConfig((Dense("mean", False),), max_document_tokens=64).write(folder)
    assert Encoder.from_pretrained(folder, device="cpu").encode_queries(["a river"]).shape == (1, 32)


def test_an_encoder_with_causal_attention_is_a_decoder(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model")
    edit(folder / "config.json", is_decoder=True, architectures=["BertModel"])
    with pytest.raises(CheckpointError, match="is a decoder"):
        load_checkpoint(folder, require_mlm_head=False)


# Code in a folder


@pytest.mark.parametrize("model_type", ["bert", "unknown"])
def test_code_in_a_folder_never_runs_and_nothing_is_asked(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(question: str) -> str:
        raise AssertionError(question)

    monkeypatch.setattr(builtins, "input", ask)
    folder = toys.write_model(tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nModel = Config = Made = None\n")
    auto_classes = ("AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification", "AutoModelForCausalLM")
    code = dict.fromkeys(auto_classes, "evil.Model")
    edit(folder / "config.json", model_type=model_type, auto_map={"AutoConfig": "evil.Config", **code})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Made", "evil.Made"]})
    for load in (
        lambda: Encoder.from_pretrained(folder, device="cpu"),
        lambda: CrossEncoder.load(str(folder), device="cpu"),
        lambda: Classifier.load(str(folder), ["a", "b"], of_words=False),
    ):
        with (
            contextlib.nullcontext()
            if model_type == "bert"
            else pytest.raises(CheckpointError, match="auto_map names code in the folder")
        ):
            load()
    with pytest.raises(CheckpointError):
        TextGenerationModel.load(folder, torch.float32)
    assert not (tmp_path / "ran").exists()


# Tokenizers


def test_texts_are_framed_as_the_template_of_the_tokenizer_says(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = toys.tokenizer()
    tokens = [(name, tokenizer.backend.token_to_id(name)) for name in ("[CLS]", "[SEP]", "[MASK]")]
    ids = dict(tokens)
    for single, before, after in (
        ("$A", [], []),
        ("$A [SEP]", [], ["[SEP]"]),
        ("[CLS] [MASK] $A", ["[CLS]", "[MASK]"], []),
        ("[CLS] $A [SEP] [SEP]", ["[CLS]"], ["[SEP]", "[SEP]"]),
    ):
        other = toys.tokenizer()
        other.backend.post_processor = TemplateProcessing(single, f"{single} $B", tokens)
        template = other.template
        assert template.before == [ids[name] for name in before] and template.after == [ids[name] for name in after]
        assert other.num_special_tokens == len(before) + len(after)


def test_the_head_of_a_sparse_model_ignores_the_prompt_behind_any_template(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = toys.tokenizer()
    tokenizer.backend.post_processor = TemplateProcessing("$A [SEP]", None, [("[SEP]", tokenizer.special_id("sep"))])
    config = EncoderConfig((Sparse(pool_special_tokens=False),), "river ", "", 32, 32)
    encoder = BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, config)
    batch = encoder.collate(tokenizer.encode(["river glacier"]), "query", torch.device("cpu"))
    prompt = len(tokenizer.encode(["river "])[0].ids)
    assert batch.own_tokens[0, :prompt].sum() == 0 and batch.own_tokens[0, prompt:-1].all()


# Re-rankers


def test_a_re_ranker_from_a_new_tokenizer_declares_its_token_types(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    reranker = CrossEncoder.load(str(toys.write_model(tmp_path / "model")), device="cpu", precision="float32")
    assert reranker.tokenizer.pair_template.token_type_ids == (0, 1)
    reranker.save_pretrained(tmp_path / "saved")
    assert "token_type_ids" in AutoTokenizer.from_pretrained(tmp_path / "saved").model_input_names
    scores = reranker.score([("a river", "an engine"), ("violin", "a comet")])
    file = tmp_path / "saved" / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8"))
    del config["model_input_names"]  # as in re-rankers that were trained by early versions, with token types
    file.write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "saved" / "manifest.json").unlink()
    early = CrossEncoder.from_pretrained(str(tmp_path / "saved"), device="cpu", precision="float32")
    np.testing.assert_allclose(early.score([("a river", "an engine"), ("violin", "a comet")]), scores, atol=1e-6)


def test_split_special_tokens_is_saved_and_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = toys.write_model(tmp_path / "model")
    whole = load_checkpoint(folder, require_mlm_head=False).tokenizer
    edit(folder / "tokenizer_config.json", split_special_tokens=True)
    split = load_checkpoint(folder, require_mlm_head=False).tokenizer
    assert split.fingerprint != whole.fingerprint
    assert len(split.encode(["[MASK]"])[0].ids) > len(whole.encode(["[MASK]"])[0].ids) == 1
    split.save(folder, 64)
    assert load_checkpoint(folder, require_mlm_head=False).tokenizer.fingerprint == split.fingerprint

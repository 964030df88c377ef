"""The files and keys that text-embeddings-inference and vLLM read of model folders. Neither program runs here.

Read in their sources: text-embeddings-inference reads the booleans ``pooling_mode_cls_token`` and
``pooling_mode_mean_tokens`` of ``1_Pooling/config.json``, the integer ``max_seq_length`` of
``sentence_bert_config.json``, the prompts of
``config_sentence_transformers.json``, and the paths of Dense modules in ``modules.json``. vLLM finds the modules by
their types, takes the first key of the pooling whose value is true, and the length limit only if ``do_lower_case``
stands beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

import toys
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse

MODULES = "sentence_transformers.models."


def saved(head: Head, folder: Path) -> Path:
    tokenizer = toys.tokenizer()
    config = EncoderConfig((head,), "query: ", "text: ", max_query_tokens=20, max_document_tokens=50)
    folder.mkdir()
    BiEncoder(toys.encoder("bert", tokenizer.vocab_size), tokenizer, config).save(folder)
    return folder


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("dim", [None, 8])
def test_an_encoder_has_the_keys_that_servers_read(pooling: Any, dim: int | None, tmp_path: Path) -> None:
    folder = saved(Dense(pooling, True, dim), tmp_path / "model")
    modules = {module["type"]: module["path"] for module in read(folder / "modules.json")}
    of_pooling = read(folder / modules[f"{MODULES}Pooling"] / "config.json")
    assert modules[f"{MODULES}Pooling"] == "1_Pooling" and f"{MODULES}Normalize" in modules
    assert of_pooling["pooling_mode_cls_token"] is (pooling == "cls")
    assert of_pooling["pooling_mode_mean_tokens"] is (pooling == "mean")
    first = next(name for name, value in of_pooling.items() if value is True)
    assert first == {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}[pooling]
    limits = read(folder / "sentence_bert_config.json")
    assert limits["max_seq_length"] == 50 and limits["do_lower_case"] is False
    assert read(folder / "config_sentence_transformers.json")["prompts"] == {"query": "query: ", "document": "text: "}
    assert (f"{MODULES}Dense" in modules) is (dim is not None)
    if dim:
        of_dense = read(folder / modules[f"{MODULES}Dense"] / "config.json")
        assert (of_dense["in_features"], of_dense["out_features"]) == (32, 8) and of_dense["activation_function"]
        with safe_open(str(folder / modules[f"{MODULES}Dense"] / "model.safetensors"), "pt") as weights:
            assert "linear.weight" in weights.keys()  # noqa: SIM118 - not a dictionary
    assert read(folder / "config.json")["model_type"] == "bert"
    assert (folder / "tokenizer.json").is_file() and (folder / "model.safetensors").is_file()


def test_term_weights_and_rerankers_name_their_architecture(tmp_path: Path) -> None:
    folder = saved(Sparse(), tmp_path / "sparse")
    assert read(folder / "config.json")["architectures"] == ["BertForMaskedLM"]
    with safe_open(str(folder / "model.safetensors"), "pt") as weights:
        assert any(name.startswith("cls.predictions") for name in weights.keys())  # noqa: SIM118
    CrossEncoder.load(str(toys.write_model(tmp_path / "model"))).save_pretrained(tmp_path / "reranker")
    config = read(tmp_path / "reranker" / "config.json")
    assert config["architectures"] == ["BertForSequenceClassification"] and len(config["id2label"]) == 1
    assert (tmp_path / "reranker" / "tokenizer.json").is_file()

"""Dense heads with static queries: encoding, distillation, export and pruning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import encloze
import toys
from encloze.data.corpus import Corpus
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, RecipeError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.models.sentence_transformers import is_expressible
from encloze.training.static_queries import short_texts, token_embeddings

TEXTS = ["where do rivers end", "the repair of a violin", "", "old old comets"]


def model_of(head: Dense, *others: Sparse) -> BiEncoder:
    tokenizer = toys.tokenizer()
    config = EncoderConfig((head, *others), query_prompt="query: ", max_query_tokens=30, max_document_tokens=30)
    torch.manual_seed(0)
    model = BiEncoder(toys.encoder("bert", tokenizer.vocab_size), tokenizer, config)
    model.precision = "float32"
    return model.eval()


@pytest.mark.parametrize("dim", [None, 8])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_query_is_the_mean_of_the_embeddings_of_its_tokens(dim: int | None, normalize: bool) -> None:
    model = model_of(Dense("mean", normalize, dim, query_encoding="static"))
    table = dict(model.head_modules.state_dict())["dense.query_embeddings.weight"].numpy()
    found, tokenizer = model.encode_queries(TEXTS).dense, model.tokenizer
    for text, vector in zip(TEXTS, found, strict=True):
        ids = tokenizer.encode([text])[0].ids
        if not len(ids):  # the prompt and the special tokens are all that there is
            ids = np.array(tokenizer.backend.encode("query: ").ids)
        expected = table[ids].mean(axis=0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected) if normalize else expected, atol=1e-6)


def test_documents_are_encoded_as_before_and_queries_without_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = model_of(Dense("mean", True, 8))
    weights = plain.head_modules.state_dict()
    static = replace(plain.config, heads=(replace(plain.config.heads[0], query_encoding="static"),))
    named = {name.replace("dense.", "dense.projection."): value for name, value in weights.items()}
    model = BiEncoder(plain.backbone, plain.tokenizer, static, named).eval()
    model.precision = "float32"
    np.testing.assert_allclose(model.encode_documents(TEXTS).dense, plain.encode_documents(TEXTS).dense, atol=1e-6)
    monkeypatch.setattr(type(model.backbone), "encode_for_inference", lambda *_: 1 / 0)
    assert model.encode_queries(TEXTS).dense.shape == (4, 8)
    with pytest.raises(ZeroDivisionError):
        model.encode_documents(TEXTS)


def test_a_saved_model_is_loaded_and_others_have_the_same_settings_as_before(tmp_path: Path) -> None:
    model = model_of(Dense("mean", True, query_encoding="static"), Sparse(query_encoding="bag_of_words"))
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    loaded = BiEncoder.load(str(tmp_path / "model"), precision="float32")
    assert loaded.config == model.config
    for one in ("encode_queries", "encode_documents"):
        before, after = (getattr(each, one)(TEXTS) for each in (model, loaded))
        np.testing.assert_allclose(after.dense, before.dense, atol=1e-6)
    assert "query_encoding" not in EncoderConfig((Dense("cls", True),)).plain()["heads"][0]
    assert not is_expressible(replace(model.config, heads=model.config.heads[:1]))
    assert Dense(query_encoding=None).with_defaults(model.config.dense).query_encoding == "static"
    with pytest.raises(ValueError, match="query_encoding must be encoder or static"):
        Dense(query_encoding="table")  # type: ignore[arg-type]


def test_the_first_embedding_of_a_token_is_that_of_the_teacher() -> None:
    teacher = model_of(Dense("mean", True))
    found = token_embeddings(teacher)
    (token,) = teacher.tokenizer.encode(["river"])[0].ids[:1]
    text = teacher.tokenizer.backend.decode([int(token)])
    if teacher.tokenizer.encode([text])[0].ids.tolist() == [token]:
        np.testing.assert_allclose(found[token], teacher.encode_queries([text]).dense[0], atol=1e-5)
    assert found.shape == (teacher.tokenizer.vocab_size, 32) and torch.isfinite(found).all()


def test_training_texts_are_queries_titles_and_passages() -> None:
    corpus = Corpus.from_dicts(
        [{"id": "1", "title": "Rivers", "text": "A river flows. It ends in the sea."}, {"id": "2", "text": "Rivers"}]
    )
    texts = short_texts(corpus, ["my query"], 100, 0)
    assert texts[0] == "my query" and sorted(texts[1:]) == ["A river flows. It ends in the sea.", "Rivers"]
    assert short_texts(corpus, ["my query"], 2, 0) == texts[:2]


def test_distillation_brings_queries_close_to_those_of_the_teacher(dataset: Path, tmp_path: Path) -> None:
    teacher = toys.write_model(tmp_path / "teacher", views=("dense",))
    training = {"epochs": 20, "learning_rate": 0.02, "logging_steps": 50}
    student = encloze.distill(
        str(teacher), dataset, output=tmp_path / "student", query_encoding="static", training=training, evaluate_on=None
    )
    original = Encoder.from_pretrained(str(teacher))
    texts = [line.partition("\t")[0] for line in ("where do rivers end", "how is a violin repaired")]
    np.testing.assert_allclose(student.encode_documents(TEXTS), original.encode_documents(TEXTS), atol=1e-5)
    log = (tmp_path / "student" / "log.jsonl").read_text().splitlines()
    losses = [float(line.partition('"embedding_distillation": ')[2].partition(",")[0].rstrip("}")) for line in log
              if "embedding_distillation" in line]  # fmt: skip
    assert losses[-1] < 0.7 * losses[0]
    near = [float(np.dot(*pair) / np.prod([np.linalg.norm(one) for one in pair]))
            for pair in zip(student.encode_queries(texts), original.encode_queries(texts), strict=True)]  # fmt: skip
    assert min(near) > 0.5
    exported = encloze.export(student, output=tmp_path / "exported")
    assert exported.report.failures == ()
    again = Encoder.from_pretrained(str(tmp_path / "exported"))
    np.testing.assert_allclose(again.encode_queries(texts), student.encode_queries(texts), atol=1e-5)
    pruned = encloze.prune_vocabulary(student, dataset, output=tmp_path / "pruned")
    np.testing.assert_allclose(pruned.encode_queries(texts[:1]), student.encode_queries(texts[:1]), atol=1e-5)


def test_a_teacher_that_encodes_queries_to_term_weights_is_refused(dataset: Path, tmp_path: Path) -> None:
    teacher = toys.write_model(tmp_path / "teacher", views=("dense", "sparse"))
    with pytest.raises(RecipeError, match="encodes queries to term weights, too"):
        encloze.distill(str(teacher), dataset, output=tmp_path / "student", query_encoding="static")
    with pytest.raises(RecipeError, match="Leave out layers and student"):
        encloze.distill(str(teacher), dataset, output=tmp_path / "student", query_encoding="static", layers=1)
    student = model_of(Dense("mean", True, query_encoding="static"))
    student.name = "student"
    with pytest.raises(CheckpointError, match="query_encoding: static"):
        from encloze.exports.sentence_transformers import SentenceTransformers

        SentenceTransformers().expressible(student)

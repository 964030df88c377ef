"""Heads of bi-encoders: shape, independence of padding, gradients, and agreement with their formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import toys
from encloze.errors import CheckpointError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import HEADS
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head, HeadInput, TextBatch
from encloze.models.heads.dense import Dense
from encloze.models.heads.ordinary_tokens import OrdinaryTokens
from encloze.models.heads.sparse import Sparse

each_head = pytest.mark.parametrize("name", Head.members())
TEXTS = ["a river", "the broken engine needs patient hands", "zzz", ""]


def make_encoder(*heads: Head, kind: str = "bert", query_prompt: str = "") -> BiEncoder:
    tokenizer = toys.tokenizer()
    torch.manual_seed(1)
    config = EncoderConfig(heads, query_prompt, "", 32, 64)
    encoder = BiEncoder(toys.encoder(kind, tokenizer.vocab_size), tokenizer, config).eval()
    encoder.precision = "float32"
    return encoder


def head_input(encoder: BiEncoder, texts: list[str], extra_padding: int = 0) -> HeadInput:
    """Return texts as a head gets them, optionally with more padding than needed."""
    encoded = encoder.tokenizer.encode(texts)
    batch = encoder.collate(encoded, "document", torch.device("cpu"))
    pad = encoder.tokenizer.special_id("pad")
    ids, mask, own = (
        torch.nn.functional.pad(tensor, (0, extra_padding), value=value)
        for tensor, value in zip(batch, (pad, False, False), strict=True)
    )
    return HeadInput(TextBatch(ids, mask, own), encoder.backbone.encode(ids, mask))


def view_of(encoder: BiEncoder, inputs: HeadInput) -> torch.Tensor:
    (head,) = encoder.config.heads
    module = dict(encoder.head_modules.items()).get(head.name)
    return head.represent(inputs, "document", encoder.backbone, module)


@each_head
def test_each_text_has_one_finite_view_that_does_not_depend_on_padding(name: str) -> None:
    encoder = make_encoder(Head.member(name)())
    with torch.no_grad():
        view = view_of(encoder, head_input(encoder, TEXTS))
        padded = view_of(encoder, head_input(encoder, TEXTS, extra_padding=5))
    assert view.shape == (4, encoder.views[encoder.config.heads[0].view]) and view.dtype == torch.float32
    assert torch.isfinite(view).all()
    torch.testing.assert_close(view, padded, atol=1e-5, rtol=1e-5)


@each_head
def test_gradients_reach_the_first_layer_of_the_encoder(name: str) -> None:
    encoder = make_encoder(Head.member(name)())
    view_of(encoder, head_input(encoder, TEXTS[:2])).square().sum().backward()
    gradient = encoder.backbone.layers()[0].output.dense.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


@each_head
def test_a_saved_head_makes_the_same_views(name: str, tmp_path: Path) -> None:
    encoder = make_encoder(Head.member(name)())
    encoder.save(tmp_path)
    loaded = BiEncoder.load(str(tmp_path), precision="float32")
    assert loaded.config == encoder.config
    assert_same_views(loaded, encoder, TEXTS)


def assert_same_views(one: BiEncoder, other: BiEncoder, texts: list[str]) -> None:
    for actual, expected in (
        (one.encode_queries(texts), other.encode_queries(texts)),
        (one.encode_documents(texts), other.encode_documents(texts)),
    ):
        for a, b in zip(actual, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                a, b = (matrix.toarray() if hasattr(matrix, "toarray") else matrix for matrix in (a, b))
                np.testing.assert_allclose(a, b, atol=1e-5)


def test_two_views_come_from_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder(Dense("mean", True, 8), Sparse(document_top_k=5, query_top_k=3))
    batch_sizes, encode = [], encoder.backbone.encode

    def counted(ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        batch_sizes.append(len(ids))
        return encode(ids, attention_mask)

    monkeypatch.setattr(encoder.backbone, "encode", counted)
    documents = encoder.encode_documents(TEXTS)
    assert sum(batch_sizes) == 4
    assert documents.dense.shape == (4, 8) and documents.sparse.shape == (4, encoder.tokenizer.vocab_size)
    np.testing.assert_allclose(np.linalg.norm(documents.dense, axis=1), 1, atol=1e-5)
    assert (np.diff(documents.sparse.indptr) == 5).all()
    assert (np.diff(encoder.encode_queries(TEXTS).sparse.indptr) == 3).all()


def test_both_views_are_saved_with_the_trained_projection(tmp_path: Path) -> None:
    encoder = make_encoder(Dense("cls", False, 6), Sparse(weight=0.5))
    encoder.save(tmp_path)
    assert (tmp_path / HEADS).is_file()
    loaded = BiEncoder.load(str(tmp_path), precision="float32")
    assert_same_views(loaded, encoder, TEXTS)
    assert loaded.similarity.sparse == 0.5 and loaded.similarity.dense == 1


def test_a_missing_projection_is_not_replaced_by_a_random_one(tmp_path: Path) -> None:
    encoder = make_encoder(Dense("cls", False, 6))
    encoder.save(tmp_path)
    (tmp_path / HEADS).unlink()
    expected = r"heads\.safetensors is missing or lacks weights of the heads \(dense\.weight\)"
    with pytest.raises(CheckpointError, match=expected):
        BiEncoder.load(str(tmp_path))


def splade_weights(
    encoder: BiEncoder, inputs: HeadInput, row: int, positions: torch.Tensor, pooling: str
) -> torch.Tensor:
    """SPLADE's formula, token by token."""
    assert inputs.hidden is not None
    logits = encoder.backbone.mlm_logits(inputs.hidden[row])
    weights = torch.log(1 + torch.relu(logits))[positions[row]]
    return weights.max(dim=0).values if pooling == "max" else weights.sum(dim=0)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("special", [True, False])
def test_term_weights_and_their_gradients_follow_the_formula(pooling: str, special: bool) -> None:
    encoder = make_encoder(Sparse(pooling=pooling, pool_special_tokens=special)).double()  # type: ignore[arg-type]
    gradients = []
    for is_head in (True, False):
        inputs = head_input(encoder, TEXTS)
        positions = inputs.texts.attention_mask if special else inputs.texts.content_mask
        if is_head:
            rows = list(view_of(encoder, inputs))
        else:
            rows = [splade_weights(encoder, inputs, row, positions, pooling) for row in range(4)]
        factors = torch.linspace(-1, 2, rows[0].numel(), dtype=torch.float64)
        encoder.zero_grad()
        total = torch.stack([(row * factors).sin().sum() for row in rows]).sum()
        total.backward()
        gradients.append({n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None} | {"": total})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], value, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("encoding", ["expansion", "term_weighting"])
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_a_logit_bias_is_added_to_all_logits(encoding: str, pooling: str) -> None:
    """A bias of the head and the same bias in the model's own output layer are equal."""
    head = Sparse(pooling=pooling, document_encoding=encoding, document_logit_bias=-0.3)  # type: ignore[arg-type]
    biased, plain = make_encoder(head), make_encoder(Sparse(pooling=pooling, document_encoding=encoding))  # type: ignore[arg-type]
    with torch.no_grad():
        actual = view_of(biased, head_input(biased, TEXTS))
        inputs = head_input(plain, TEXTS)
        more = view_of(plain, inputs)
        plain.backbone.mlm_head().decoder.bias.sub_(0.3)
        torch.testing.assert_close(actual, view_of(plain, inputs), atol=1e-5, rtol=1e-5)
    assert (actual > 0).sum() < (more > 0).sum()


def test_bag_of_words_queries_need_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder(Sparse(query_encoding="bag_of_words"))
    monkeypatch.setattr(encoder.backbone, "encode", None)  # fails if it is called
    queries = encoder.encode_queries(["river river engine", ""]).sparse
    expected = {int(token) for text in encoder.tokenizer.encode(["river engine"]) for token in text.ids}
    assert set(queries[0].indices) == expected and set(queries[0].data) == {1.0}
    assert not queries[1].nnz


@pytest.mark.parametrize("mode", ["term_weighting", "bag_of_words"])
def test_tokens_of_a_prompt_are_not_the_querys_own(mode: str) -> None:
    encoder = make_encoder(Sparse(query_encoding=mode), query_prompt="river: ")  # type: ignore[arg-type]
    other, same, empty = encoder.encode_queries(["engine history", "river history", ""]).sparse
    tokens, river = ({int(n) for n in encoder.tokenizer.encode([text])[0].ids} for text in ("engine history", "river"))
    assert set(other.indices) <= tokens - river and (mode == "term_weighting" or other.nnz == len(tokens))
    assert river & set(same.indices) or mode == "term_weighting"  # a word of the prompt in the query itself counts
    assert not empty.nnz


def test_term_weighting_gives_the_weights_of_expansion_to_the_texts_own_tokens() -> None:
    expanding, weighting = (make_encoder(Sparse(document_encoding=e)) for e in ("expansion", "term_weighting"))  # type: ignore[arg-type]
    inputs = head_input(expanding, TEXTS[:2])
    with torch.no_grad():
        all_weights, own_weights = view_of(expanding, inputs), view_of(weighting, inputs)
    for row in range(2):
        own = sorted(set(inputs.texts.ids[row][inputs.texts.own_tokens[row]].tolist()))
        assert set(own_weights[row].nonzero().flatten().tolist()) <= set(own)
        torch.testing.assert_close(own_weights[row, own], all_weights[row, own])


def test_ordinary_tokens_keep_the_highest_logits_of_documents_and_all_of_queries() -> None:
    encoder = make_encoder(OrdinaryTokens(document_top_k=4))
    documents, queries = encoder.encode_documents(TEXTS[:2]).sparse, encoder.encode_queries(TEXTS[:2]).sparse
    assert (np.diff(documents.indptr) == 4).all() and (np.diff(queries.indptr) >= 108).all()  # of 109, one is 0
    assert (queries.data < 0).any()  # logits without an activation
    assert documents[0].data.min() >= np.sort(queries[0].toarray()[0])[-4] - 1e-6


def test_a_sparse_head_needs_a_head_for_masked_tokens(tmp_path: Path) -> None:
    from transformers import BertModel

    encoder = make_encoder(Dense("cls", False))
    encoder.save(tmp_path)
    BertModel(encoder.backbone.config).save_pretrained(tmp_path)
    EncoderConfig((Sparse(),), "", "", 32, 64).write(tmp_path)
    expected = (
        "a sparse head needs the encoder's head for masked language modeling, but the model folder has no weights of"
    )
    with pytest.raises(CheckpointError, match=expected):
        BiEncoder.load(str(tmp_path))


@pytest.mark.parametrize(
    ("head", "settings", "message"),
    [
        (Dense, {"dim": 0}, "dim must be 1 or more, not 0"),
        (Dense, {"weight": 0.0}, "weight must be above 0, not 0"),
        (Sparse, {"query_top_k": 0}, "query_top_k must be 1 or more, not 0"),
    ],
)
def test_invalid_settings_are_refused(head: type[Head], settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**settings)

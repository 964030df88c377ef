"""Every head gives each text one finite view, whatever its padding, learns from it, and is what its formula says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import toys
from encloze.errors import CheckpointError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import HEADS, Card
from encloze.models.heads.base import Head, Read, Texts
from encloze.models.heads.dense import Dense
from encloze.models.heads.ordinary_tokens import OrdinaryTokens
from encloze.models.heads.sparse import Sparse

EVERY = pytest.mark.parametrize("name", Head.members())
TEXTS = ["a river", "the broken engine needs patient hands", "zzz", ""]


def encoder(*heads: Head, kind: str = "bert") -> BiEncoder:
    tokenizer = toys.tokenizer()
    torch.manual_seed(1)
    made = BiEncoder(toys.encoder(kind, tokenizer.size), tokenizer, Card(heads, "", "", 32, 64)).eval()
    made.precision = "float32"
    return made


def read(made: BiEncoder, texts: list[str], longer: int = 0) -> Read:
    """Texts as a head gets them, with more padding than is needed."""
    tokenizer = made.tokenizer
    first, last, pad = (tokenizer.id_of(role) for role in ("first", "last", "pad"))  # type: ignore[arg-type]
    rows = [[first, *text.ids.tolist(), last] for text in tokenizer.encode(texts)]
    length = max(map(len, rows)) + longer
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    attention = torch.tensor([[place < len(row) for place in range(length)] for row in rows])
    own = attention & ~torch.isin(ids, torch.from_numpy(tokenizer.special_ids))
    return Read(Texts(ids, attention, own), made.backbone.encode(ids, attention))


def view(made: BiEncoder, given: Read, side: str = "document") -> torch.Tensor:
    (head,) = made.card.heads
    part = dict(made.parts.items()).get(head.name)
    return head.represent(given, side, made.backbone, part)  # type: ignore[arg-type]


@EVERY
def test_each_text_gets_one_finite_view_that_padding_does_not_change(name: str) -> None:
    made = encoder(Head.member(name)())
    with torch.no_grad():
        found, padded = view(made, read(made, TEXTS)), view(made, read(made, TEXTS, longer=5))
    assert found.shape == (4, made.views[made.card.heads[0].view]) and found.dtype == torch.float32
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, padded, atol=1e-5, rtol=1e-5)


@EVERY
def test_a_view_teaches_the_encoder(name: str) -> None:
    made = encoder(Head.member(name)())
    view(made, read(made, TEXTS[:2])).square().sum().backward()
    slope = made.backbone.layers()[0].output.dense.weight.grad
    assert slope is not None and slope.abs().sum() > 0


@EVERY
def test_a_saved_head_makes_the_same_views(name: str, tmp_path: Path) -> None:
    made = encoder(Head.member(name)())
    made.save(tmp_path)
    loaded = BiEncoder.load(str(tmp_path), precision="float32")
    assert loaded.card == made.card
    same(loaded, made, TEXTS)


def same(one: BiEncoder, other: BiEncoder, texts: list[str]) -> None:
    for found, expected in (
        (one.encode_queries(texts), other.encode_queries(texts)),
        (one.encode_documents(texts, len(texts)), other.encode_documents(texts, len(texts))),
    ):
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                a, b = (matrix.toarray() if hasattr(matrix, "toarray") else matrix for matrix in (a, b))
                np.testing.assert_allclose(a, b, atol=1e-5)


def test_two_views_come_from_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder(Dense("mean", True, 8), Sparse(document_top_k=5, query_top_k=3))
    passes, encode = [], made.backbone.encode

    def counted(ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        passes.append(len(ids))
        return encode(ids, attention)

    monkeypatch.setattr(made.backbone, "encode", counted)
    found = made.encode_documents(TEXTS, 4)
    assert sum(passes) == 4 and found.dense.shape == (4, 8) and found.sparse.shape == (4, made.tokenizer.size)
    np.testing.assert_allclose(np.linalg.norm(found.dense, axis=1), 1, atol=1e-5)
    assert (np.diff(found.sparse.indptr) == 5).all()
    assert (np.diff(made.encode_queries(TEXTS).sparse.indptr) == 3).all()


def test_both_views_are_saved_with_what_the_projection_learnt(tmp_path: Path) -> None:
    made = encoder(Dense("cls", False, 6), Sparse(weight=0.5))
    made.save(tmp_path)
    assert (tmp_path / HEADS).is_file()
    loaded = BiEncoder.load(str(tmp_path), precision="float32")
    same(loaded, made, TEXTS)
    assert loaded.similarity.sparse == 0.5 and loaded.similarity.dense == 1


def test_a_projection_that_is_missing_is_no_random_one(tmp_path: Path) -> None:
    made = encoder(Dense("cls", False, 6))
    made.save(tmp_path)
    (tmp_path / HEADS).unlink()
    with pytest.raises(CheckpointError, match=r"lacks what its heads learnt \(dense\.weight, in heads\.safetensors\)"):
        BiEncoder.load(str(tmp_path))


def literal(made: BiEncoder, given: Read, row: int, places: torch.Tensor, pooling: str) -> torch.Tensor:
    """SPLADE's formula, token by token."""
    assert given.hidden is not None
    logits = made.backbone.predict(given.hidden[row])
    weights = torch.log(1 + torch.relu(logits))[places[row]]
    return weights.max(dim=0).values if pooling == "max" else weights.sum(dim=0)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("special", [True, False])
def test_term_weights_and_their_gradients_are_those_of_the_formula(pooling: str, special: bool) -> None:
    made = encoder(Sparse(pooling=pooling, special_places=special)).double()  # type: ignore[arg-type]
    gradients = []
    for way in ("head", "literal"):
        given = read(made, TEXTS)
        places = given.texts.attention if special else given.texts.speaking
        found = view(made, given) if way == "head" else None
        rows = [literal(made, given, row, places, pooling) for row in range(4)] if found is None else list(found)
        steepness = torch.linspace(-1, 2, rows[0].numel(), dtype=torch.float64)
        made.zero_grad()
        total = torch.stack([(row * steepness).sin().sum() for row in rows]).sum()
        total.backward()
        gradients.append({n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None} | {"": total})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], value, atol=1e-9, rtol=1e-9, msg=name)


def test_a_bag_of_words_needs_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder(Sparse(queries="bag"))
    monkeypatch.setattr(made.backbone, "encode", None)  # would fail if it were called
    found = made.encode_queries(["river river engine", ""]).sparse
    wanted = {int(token) for text in made.tokenizer.encode(["river engine"]) for token in text.ids}
    assert set(found[0].indices) == wanted and set(found[0].data) == {1.0}
    assert not found[1].nnz


@pytest.mark.parametrize("mode", ["lexical", "bag"])
def test_words_of_a_prompt_are_not_a_querys_own(mode: str) -> None:
    tokenizer = toys.tokenizer()
    head = Sparse(queries=mode)  # type: ignore[arg-type]
    made = BiEncoder(toys.encoder("bert", tokenizer.size), tokenizer, Card((head,), "river: ", "", 32, 64)).eval()
    some, own, none = made.encode_queries(["engine history", "river history", ""]).sparse
    asked, river = ({int(n) for n in made.tokenizer.encode([text])[0].ids} for text in ("engine history", "river"))
    assert set(some.indices) <= asked - river and (mode == "lexical" or some.nnz == len(asked))
    assert river & set(own.indices) or mode == "lexical"  # one that the query itself holds counts
    assert not none.nnz


def test_lexical_weights_are_those_of_the_texts_own_tokens() -> None:
    whole, lexical = (encoder(Sparse(documents=mode)) for mode in ("expansion", "lexical"))  # type: ignore[arg-type]
    given = read(whole, TEXTS[:2])
    with torch.no_grad():
        all_weights, own_weights = view(whole, given), view(lexical, given)
    for row in range(2):
        own = sorted(set(given.texts.ids[row][given.texts.own[row]].tolist()))
        assert set(own_weights[row].nonzero().flatten().tolist()) <= set(own)
        torch.testing.assert_close(own_weights[row, own], all_weights[row, own])


def test_ordinary_tokens_keep_a_documents_highest_logits_and_all_of_a_query() -> None:
    made = encoder(OrdinaryTokens(document_top_k=4))
    documents, queries = made.encode_documents(TEXTS[:2], 2).sparse, made.encode_queries(TEXTS[:2]).sparse
    assert (np.diff(documents.indptr) == 4).all() and (np.diff(queries.indptr) >= 108).all()  # of 109, one is 0
    assert (queries.data < 0).any()  # logits as they are
    assert documents[0].data.min() >= np.sort(queries[0].toarray()[0])[-4] - 1e-6


def test_term_weights_want_a_head_for_masked_tokens(tmp_path: Path) -> None:
    from transformers import BertModel

    made = encoder(Dense("cls", False))
    made.save(tmp_path)
    BertModel(made.backbone.config).save_pretrained(tmp_path)
    Card((Sparse(),), "", "", 32, 64).write(tmp_path)
    with pytest.raises(CheckpointError, match="a sparse view is made by the encoder's head for masked language model"):
        BiEncoder.load(str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weight": 0}, "weight must be above 0"),
        ({"query_top_k": 0}, "query_top_k"),
        ({"document_top_k": -1}, "document"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Sparse(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width must be 1 or more"):
        Dense(width=0)

"""The command prune_vocabulary: tokenizers and encoders of all families with the tokens of a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

import encloze
import toys
from encloze.backbones.base import Backbone
from encloze.backbones.hf.smaller_models import with_tokens
from encloze.errors import CheckpointError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.text.pruned_vocabulary import check_pruned, count_tokens, prune_tokenizer, tokens_to_keep
from encloze.text.tokenizer import Tokenizer

TEXTS = ["Rivers flow into the sea.", "the old river", "where do rivers end"]
ALGORITHMS = ("wordpiece", "unigram", "bpe")


def pruned(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tokenizer, np.ndarray]:
    kept = tokens_to_keep(tokenizer, np.flatnonzero(count_tokens(tokenizer, texts)))
    return prune_tokenizer(tokenizer, kept), kept


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_texts_are_tokenized_as_before_and_others_still_can_be(algorithm: str) -> None:
    tokenizer = toys.tokenizer(algorithm)
    smaller, kept = pruned(tokenizer, TEXTS)
    assert smaller.vocab_size == len(kept) < tokenizer.vocab_size
    check_pruned(tokenizer, smaller, kept, TEXTS)
    vocabulary = tokenizer.backend.get_vocab()
    for text in TEXTS:
        old, new = tokenizer.backend.encode(text), smaller.backend.encode(text)  # with special tokens
        assert old.tokens == new.tokens and old.ids == kept[new.ids].tolist()
        pair = smaller.backend.encode(text, text)
        assert kept[pair.ids].tolist() == tokenizer.backend.encode(text, text).ids
    assert {role: smaller.special_id(role) for role in smaller.special_tokens} == {  # type: ignore[arg-type]
        role: int(np.searchsorted(kept, vocabulary[token])) for role, token in tokenizer.special_tokens.items()
    }
    for text in toys.texts():  # what had a token still has, if a smaller one
        unknown = tokenizer.special_tokens.get("unknown", "[UNK]")
        assert (unknown in smaller.backend.encode(text).tokens) <= (unknown in tokenizer.backend.encode(text).tokens)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_text_that_is_split_in_another_way_is_noticed(algorithm: str) -> None:
    tokenizer = toys.tokenizer(algorithm)
    smaller, kept = pruned(tokenizer, TEXTS[:1])
    with pytest.raises(CheckpointError, match="splits a text in another way"):
        check_pruned(tokenizer, smaller, kept, list(toys.texts()))


def test_another_kind_of_tokenizer_is_refused() -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(CheckpointError, match="WordLevel"):
        tokens_to_keep(Tokenizer(backend, {}, {}), np.array([0]))


@pytest.mark.parametrize("family", Backbone.members())
def test_encoders_of_all_families_compute_the_same(family: str, tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    smaller, kept = pruned(tokenizer, TEXTS)
    backbone = toys.encoder(family, tokenizer.vocab_size)
    config = EncoderConfig((Dense("mean", True), Sparse()), max_query_tokens=30, max_document_tokens=30)
    before = BiEncoder(backbone, tokenizer, config).eval()
    model = with_tokens(backbone.model, kept)
    after = BiEncoder(type(backbone)(model, has_mlm_head=backbone.has_mlm_head), smaller, config).eval()
    (tmp_path / "model").mkdir()
    after.save(tmp_path / "model")
    loaded = BiEncoder.load(str(tmp_path / "model"), precision="float32")
    assert loaded.backbone.model.get_input_embeddings().weight.shape[0] == len(kept)
    before.precision = after.precision = "float32"
    expected = before.encode_documents(TEXTS)
    for one in (after, loaded):
        found = one.encode_documents(TEXTS)
        np.testing.assert_allclose(found.dense, expected.dense, atol=1e-5)
        np.testing.assert_allclose(found.sparse.toarray(), expected.sparse[:, kept].toarray(), atol=1e-5)


def test_models_that_count_positions_from_the_padding_token_keep_its_id() -> None:
    backbone = toys.encoder("roberta", 100)
    assert backbone.config.pad_token_id == 0
    with_tokens(backbone.model, np.arange(50))
    with pytest.raises(CheckpointError, match="counts positions from the id of its padding token"):
        with_tokens(backbone.model, np.arange(10, 50))


def test_the_command_writes_a_model_that_searches_alike(model: Path, dataset: Path, tmp_path: Path) -> None:
    notes = run(str(model), dataset, tmp_path / "pruned")
    vectors = [
        encloze.Encoder.from_pretrained(str(one)).encode_documents(TEXTS) for one in (model, tmp_path / "pruned")
    ]
    assert np.isfinite(vectors[1]).all() and vectors[0].shape == vectors[1].shape
    corpus = [json.loads(line)["text"] for line in (dataset / "corpus.jsonl").read_text().splitlines()]
    own = [encloze.Encoder.from_pretrained(str(one)).encode_documents(corpus) for one in (model, tmp_path / "pruned")]
    np.testing.assert_allclose(*own, atol=1e-5)
    assert "tokens are kept" in notes and "would be split" in notes
    reports = encloze.evaluate([str(model), str(tmp_path / "pruned")], dataset, split="train")
    values = [system.values["nDCG@10"].mean() for system in reports.systems]
    assert values[0] == pytest.approx(values[1])


def test_the_tokens_of_prompts_are_kept(dataset: Path, tmp_path: Path) -> None:
    tokenizer, folder = toys.tokenizer(), tmp_path / "model"
    prompts = "zebra quiz: ", "xylophone jury: "  # words that no document contains
    config = EncoderConfig((Dense("mean", True),), *prompts, max_query_tokens=40, max_document_tokens=40)
    folder.mkdir()
    BiEncoder(toys.encoder("bert", tokenizer.vocab_size), tokenizer, config).save(folder)
    (tmp_path / "texts.jsonl").write_text('{"id": "1", "text": "the old river"}\n')
    run(str(folder), tmp_path / "texts.jsonl", tmp_path / "pruned")
    models = [BiEncoder.load(str(one), precision="float32") for one in (folder, tmp_path / "pruned")]
    vectors = [one.encode_queries(["the old river"]).dense for one in models]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def run(model: str, dataset: Path, output: Path, **settings: Any) -> str:
    """Run the command, and return its notes."""
    from encloze import progress
    from encloze.commands.prune_vocabulary import PruneVocabulary

    class Notes(progress.SilentListener):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    listener = Notes()
    with progress.use_listener(listener):
        PruneVocabulary(model=model, corpus=str(dataset), output=output, **settings).run()
    return "\n".join(listener.notes)


def size(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["vocab_size"])


def test_rare_tokens_are_removed_and_a_minimum_is_kept(model: Path, dataset: Path, tmp_path: Path) -> None:
    run(str(model), dataset, tmp_path / "all")
    run(str(model), dataset, tmp_path / "frequent", min_count=20)
    run(str(model), dataset, tmp_path / "many", min_tokens=10_000)
    assert size(tmp_path / "frequent") < size(tmp_path / "all") <= size(tmp_path / "many") == size(model)


def test_a_reranker_is_refused(dataset: Path, tmp_path: Path) -> None:
    reranker = tmp_path / "reranker"
    CrossEncoder.load(str(toys.write_model(tmp_path / "model"))).save_pretrained(reranker)
    with pytest.raises(CheckpointError, match="is a re-ranker or a classifier"):
        run(str(reranker), dataset, tmp_path / "pruned")

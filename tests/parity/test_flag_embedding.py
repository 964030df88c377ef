"""FlagEmbedding's RetroMAE classes: equations, folders, and scripts that use them."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

import toys
from encloze import Encoder, ModelArguments, RetroMAECollator, RetroMAEForPretraining, progress
from encloze.cli.main import main
from encloze.errors import CheckpointError, DataError, EnclozeError
from encloze.objectives.retromae import RetroMae
from encloze.text.tokenizer import Tokenizer

KINDS = ("bert", "roberta", "xlm_roberta", "mpnet", "distilbert", "deberta_v2", "electra", "modernbert")
SUPPORTED = ("bert", "roberta")  # by FlagEmbedding's class
LABELS = ("encoder_labels", "decoder_labels")
KEYS = (
    "encoder_input_ids",
    "encoder_attention_mask",
    "encoder_labels",
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_labels",
)


@cache
def tokenizer(kind: str = "wordpiece") -> Tokenizer:
    return toys.tokenizer(kind)


def fast_tokenizer(kind: str = "bert") -> Any:
    """Return a fast tokenizer of transformers with the vocabulary of one trained on the test data."""
    names = {"[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[UNK]": "<unk>", "[MASK]": "<mask>"}
    if kind == "bert":
        return transformers.BertTokenizerFast(vocab=tokenizer().backend.get_vocab())
    if kind == "roberta":
        model = json.loads(tokenizer("bpe").backend.to_str())["model"]
        pieces = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
        return transformers.RobertaTokenizerFast(vocab=pieces, merges=[tuple(pair) for pair in model["merges"]])
    if kind == "xlm_roberta":
        model = json.loads(tokenizer("unigram").backend.to_str())["model"]
        return transformers.XLMRobertaTokenizerFast(vocab=[(names.get(p, p), score) for p, score in model["vocab"]])
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend, **roles)


TOKENIZERS = ("bert", "roberta", "xlm_roberta", "generic")


def make_model(kind: str = "bert", *, dropout: float = 0.0, seed: int = 0) -> RetroMAEForPretraining:
    """Return a RetroMAE model with a tiny encoder; no bias is 0 and no norm weight 1, which could hide a mistake."""
    made = RetroMAEForPretraining(toys.encoder(kind, tokenizer().vocab_size, dropout=dropout, seed=seed).model)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.3)
    return made


def make_batch(texts: int = 4, seed: int = 5, **rates: float) -> dict[str, Tensor]:
    """Return the six tensors of the first texts and a short one."""
    torch.manual_seed(seed)
    return RetroMAECollator(tokenizer(), **rates)([*toys.texts()[:texts], "a small river"])  # type: ignore[arg-type]


def with_masked_padding(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch whose padded positions attend to nothing, as FlagEmbedding's collator makes it."""
    real = given["encoder_attention_mask"]
    assert (real == 0).any()
    return given | {"decoder_attention_mask": given["decoder_attention_mask"] * real[:, :, None]}


def gradients(made: nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in made.named_parameters() if weight.grad is not None}


class Recorder(progress.Listener):
    """Records notes and warnings."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, text: str) -> None:
        self.messages.append(text)

    def warn(self, text: str) -> None:
        self.messages.append(f"warning: {text}")


NEW_DECODER = "{} has no compatible decoder: a new one is initialized randomly"


def load(folder: Path) -> tuple[RetroMAEForPretraining, list[str]]:
    """Return the model of a folder, and the messages about it; the seed makes new weights differ from seed 0."""
    torch.manual_seed(99)
    recorder = Recorder()
    with progress.use_listener(recorder):
        made = RetroMAEForPretraining.from_pretrained(ModelArguments(), folder)
    return made, [text for text in recorder.messages if "does not specify a pooling method" not in text]


def are_equal(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# The loss


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_equals_that_of_the_objective(kind: str) -> None:
    """The loss is the mean of the encoder's term plus the mean of the decoder's, for the same masks and weights."""
    backbone = toys.encoder(kind, tokenizer().vocab_size)
    module = RetroMae().build_module(backbone, tokenizer(), "cls").double()
    made = RetroMAEForPretraining(backbone.model).double()
    made.c_head.load_state_dict(module.decoder.layers[0].state_dict())
    made.embeddings.load_state_dict(module.decoder.embeddings.state_dict())
    texts = toys.text_batches(tokenizer())[1](np.array([0, 7, 21, 38]), 1, torch.device("cpu"))
    drawn = module.sample(texts)
    encoder_output = module.encode(drawn)
    sums, counts = encoder_output.sums | module.decode(drawn, encoder_output), drawn.counts()
    expected = sums["encoder"] / counts["encoder"] + sums["decoder"] / counts["decoder"]
    (loss,) = made(
        drawn.encoder.ids,
        texts.attention_mask.long(),
        drawn.encoder.labels,
        texts.ids,
        drawn.decoder_attention_mask.long(),
        drawn.decoder.labels,
    )
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12) and loss > 1
    loss.backward()
    found = gradients(made)
    made.zero_grad()
    expected.backward()
    named = {name.replace("backbone.model.", "lm."): weight for name, weight in module.named_parameters()}
    for name, gradient in found.items():
        is_encoder = name.startswith("lm.")
        own = named[name if is_encoder else f"decoder.{name}".replace("c_head.", "layers.0.")]
        torch.testing.assert_close(gradient, own.grad, atol=1e-9, rtol=1e-9)
    assert any(name.startswith("lm.") for name in found) and any(name.startswith("c_head.") for name in found)


def reference_loss(made: RetroMAEForPretraining, given: dict[str, Tensor]) -> Tensor:
    """FlagEmbedding's forward pass: all logits, an additive mask, means over labeled positions."""
    lm, tables = made.lm, made.lm.base_model.embeddings
    weights, heads = dict(made.c_head.named_parameters()), lm.config.num_attention_heads
    read = lm(given[KEYS[0]], given[KEYS[1]], labels=given[KEYS[2]], output_hidden_states=True, return_dict=True)
    embedding = read.hidden_states[-1][:, :1]
    context = torch.cat([embedding, tables(input_ids=given[KEYS[3]])[:, 1:]], dim=1)
    asking = tables(inputs_embeds=embedding.expand_as(context))
    added = (1 - given[KEYS[4]][:, None].to(context.dtype)) * torch.finfo(context.dtype).min

    def affine(name: str, vectors: Tensor) -> Tensor:
        return F.linear(vectors, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def normed(name: str, vectors: Tensor) -> Tensor:
        eps = lm.config.layer_norm_eps
        return F.layer_norm(vectors, vectors.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def split(vectors: Tensor) -> Tensor:
        return vectors.unflatten(2, (heads, -1)).transpose(1, 2)

    query, key, value = (
        split(affine(f"attention.self.{part}", of))
        for part, of in (("query", asking), ("key", context), ("value", context))
    )
    shares = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]) + added, dim=3)
    found = (shares @ value).transpose(1, 2).flatten(2)
    joined = normed("attention.output.LayerNorm", affine("attention.output.dense", found) + asking)
    inner = affine("output.dense", F.gelu(affine("intermediate.dense", joined)))
    head = lm.cls if hasattr(lm, "cls") else lm.lm_head
    logits = head(normed("output.LayerNorm", inner + joined))
    return read.loss + F.cross_entropy(logits.flatten(0, 1), given[KEYS[5]].flatten())


@pytest.mark.parametrize("kind", SUPPORTED)
def test_loss_and_gradients_equal_those_of_flag_embedding(kind: str) -> None:
    made, given = make_model(kind).double(), with_masked_padding(make_batch())
    (loss,) = made(**given)
    loss.backward()
    found = gradients(made)
    made.zero_grad()
    expected = reference_loss(made, given)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    expected.backward()
    wanted = gradients(made)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", KEYS)
def test_each_of_the_six_tensors_affects_the_loss(name: str) -> None:
    made, given = make_model().double(), make_batch()
    changed = given[name].clone()
    if name == "encoder_attention_mask":
        changed[0, 4] = 0
    elif name == "decoder_attention_mask":
        changed[0, 3, 5] = 1 - changed[0, 3, 5]
    else:
        places = (changed[0] != -100).nonzero().flatten() if name in LABELS else torch.tensor([1, 2])
        changed[0, places[-1]] = 7
    before, after = made(**given)[0], made(**given | {name: changed})[0]
    assert before != after


@pytest.mark.parametrize("kind", KINDS)
def test_padded_positions_without_keys_do_not_affect_the_loss(kind: str) -> None:
    made, given = make_model(kind).train(), make_batch()
    seen: list[Tensor] = []
    made.c_head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[2]))
    (loss,) = made(**with_masked_padding(given))
    loss.backward()
    assert seen[0].any(dim=2).all()  # some kernels return NaN for a query without keys
    assert loss == made(**given)[0] and torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(made).values())


def test_empty_texts_give_a_finite_loss() -> None:
    made = make_model()
    for texts in (["", "a"], [""]):
        (loss,) = made(**RetroMAECollator(tokenizer())(texts))
        loss.backward()
        assert torch.isfinite(loss) and all(torch.isfinite(found).all() for found in gradients(made).values())


def test_autocast_changes_the_loss_slightly() -> None:
    made, given = make_model(), make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (loss,) = made(**given)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(made(**given)[0].item(), rel=0.02)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(made).values())


@pytest.mark.parametrize("called", ["gradient_checkpointing_enable", "activation_checkpointing_enable"])
def test_gradient_checkpointing_recomputes_layers_with_the_same_gradients(called: str) -> None:
    found, calls = [], []
    for enabled in (False, True):
        made, given = make_model(dropout=0.1).train(), make_batch()
        attention = made.lm.bert.encoder.layer[0].attention
        attention.register_forward_hook(lambda *_: calls.append(1))
        if enabled:
            getattr(made, called)(**{called.replace("enable", "kwargs"): {"use_reentrant": False}})
        torch.manual_seed(3)
        (loss,) = made(**given)
        loss.backward()
        found.append((loss, gradients(made), len(calls)))
    (plain, without, once), (twice, with_it, more) = found
    assert torch.equal(plain, twice) and without.keys() == with_it.keys() and (once, more) == (1, 3)
    for name, gradient in without.items():
        assert torch.equal(gradient, with_it[name]), name


# Weights


@pytest.mark.parametrize("kind", KINDS)
def test_weights_have_the_names_of_flag_embedding(kind: str) -> None:
    made = make_model(kind)
    names = made.state_dict().keys()
    own = {name for name in names if not name.startswith(("lm.", "c_head."))}
    has_own_positions = kind in ("deberta_v2", "electra", "modernbert")
    positions = {f"embeddings.{name}" for name in ("positions.weight", "norm.weight", "norm.bias")}
    assert own == (positions if has_own_positions else set())
    assert {name.removeprefix("lm.") for name in names if name.startswith("lm.")} == made.lm.state_dict().keys()
    theirs = BertLayer(toys.backbone().config).state_dict()
    here = made.c_head.state_dict()
    assert {name: value.shape for name, value in here.items()} == {n: v.shape for n, v in theirs.items()}


def test_the_decoder_equals_a_bert_layer_for_equal_queries_and_keys() -> None:
    made = make_model()
    theirs = BertLayer(made.lm.config).eval()
    theirs.load_state_dict(made.c_head.state_dict())
    vectors = torch.randn(2, 5, 32)
    everything = torch.ones(2, 5, 5, dtype=torch.bool)
    found = theirs(vectors)
    torch.testing.assert_close(
        made.c_head(vectors, vectors, everything), found[0] if isinstance(found, tuple) else found
    )


def test_the_decoder_is_initialized_as_bert_and_reproducibly() -> None:
    bert = toys.encoder("bert", tokenizer().vocab_size).model
    assert bert.config.initializer_range == 0.1

    def start(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return RetroMAEForPretraining(bert).c_head

    one, other = start(1), start(2)
    assert are_equal(one, start(1))
    weights = torch.cat([value.detach().flatten() for name, value in one.named_parameters() if value.dim() == 2])
    assert float(weights.std()) == pytest.approx(0.1, rel=0.04) and abs(float(weights.mean())) < 0.004
    for name, value in one.named_parameters():
        if value.dim() == 1:
            assert (value == float(name.endswith("LayerNorm.weight"))).all(), name
        else:
            assert not torch.equal(value, dict(other.named_parameters())[name])


def test_a_deep_copy_has_its_own_encoder() -> None:
    made = make_model()
    other = copy.deepcopy(made)
    assert other.backbone.model is other.lm and other.lm is not made.lm
    nn.init.zeros_(other.lm.bert.embeddings.word_embeddings.weight)
    given = make_batch()
    assert made(**given)[0] != other(**given)[0]


def test_data_parallel_is_refused() -> None:
    """Torch calls this for each further GPU; the copies have no parameters, so the head would not learn."""
    with pytest.raises(EnclozeError, match="torchrun --nproc_per_node"):
        make_model()._replicate_for_data_parallel()


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(CheckpointError, match="have no usable head for masked language modeling"):
        RetroMAEForPretraining(toys.encoder("bert", 300).model.bert)


# Folders


def write_flag_embedding_folder(folder: Path, made: RetroMAEForPretraining, **more: Any) -> Path:
    """Write a folder as FlagEmbedding does: embeddings are stored twice, with buffers of older versions."""
    made.lm.save_pretrained(folder / "encoder_model")
    tables = made.lm.base_model.embeddings
    state = made.state_dict() | {f"decoder_embeddings.{name}": value for name, value in tables.state_dict().items()}
    for prefix in (f"lm.{made.lm.base_model_prefix}.embeddings", "decoder_embeddings"):
        state[f"{prefix}.position_ids"] = torch.arange(64)[None]
    torch.save({name: value for name, value in (state | more).items() if value is not None}, folder / BIN)
    return folder


BIN = "pytorch_model.bin"


@pytest.mark.parametrize("kind", SUPPORTED)
@pytest.mark.parametrize("old", [False, True])
def test_a_folder_of_flag_embedding_gives_the_same_loss(tmp_path: Path, kind: str, old: bool) -> None:
    made = make_model(kind)
    folder = write_flag_embedding_folder(tmp_path / "theirs", made)
    if old:  # before safetensors
        (folder / "encoder_model" / "model.safetensors").unlink()
        torch.save(made.lm.state_dict(), folder / "encoder_model" / BIN)
    loaded, messages = load(folder)
    assert are_equal(loaded, made) and messages == []
    given = make_batch()
    assert torch.equal(loaded(**given)[0], made(**given)[0])


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "deberta_v2", "electra"])
def test_a_saved_model_is_restored_exactly(tmp_path: Path, kind: str) -> None:
    made = make_model(kind)
    made.save_pretrained(str(tmp_path / "out"))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"encoder_model", BIN}
    loaded, messages = load(tmp_path / "out")
    assert are_equal(loaded, made) and messages == []
    state = torch.load(tmp_path / "out" / BIN, weights_only=True)
    assert state.keys() == made.state_dict().keys()
    plain = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out" / "encoder_model")
    assert are_equal(plain, made.lm)
    other = make_model(kind, seed=1)
    other.save_pretrained(tmp_path / "out")  # overwrites
    assert are_equal(load(tmp_path / "out")[0], other) and not are_equal(other, made)


def test_a_plain_model_gets_a_new_decoder_and_a_note(tmp_path: Path) -> None:
    made = make_model()
    made.lm.save_pretrained(tmp_path / "plain")
    loaded, messages = load(tmp_path / "plain")
    assert are_equal(loaded.lm, made.lm) and messages == [
        f"{tmp_path / 'plain'} has no compatible decoder: a new one is initialized randomly"
    ]
    assert not are_equal(loaded.c_head, made.c_head)
    made.save_pretrained(tmp_path / "out")
    (tmp_path / "out" / BIN).unlink()
    loaded, messages = load(tmp_path / "out")
    assert are_equal(loaded.lm, made.lm) and messages == [
        f"{tmp_path / 'out'} has no compatible decoder: a new one is initialized randomly"
    ]


INCOMPATIBLE = {
    "other bottleneck": ["--objective.bottleneck", "mean"],
    "other query stream": ["--objective.query_stream", "raw"],
    "other decoding": ["--objective.decoding", "basic"],
}


@pytest.mark.parametrize("case", INCOMPATIBLE)
def test_an_incompatible_decoder_is_not_loaded(tmp_path: Path, dataset: Path, case: str) -> None:
    start, out = tmp_path / "start", tmp_path / "out"
    toys.encoder("bert", tokenizer().vocab_size).save(start)
    tokenizer().save(start, 64)
    flags = ["--corpus", str(dataset), "--model", str(start), "--objective", "retromae", "--output", str(out)]
    assert (
        main(["pretrain", *flags, "--training.steps", "1", "--training.precision", "float32", *INCOMPATIBLE[case]]) == 0
    )
    assert load(out)[1] == [NEW_DECODER.format(out)]


PRETRAINED = {
    "retromae": ("retromae", "bert", True),
    "retromae with its own position embeddings": ("retromae", "deberta_v2", True),
    "dupmae": ("dupmae", "bert", True),  # its decoder is RetroMAE's
    "cotmae": ("cotmae", "bert", False),  # two layers
    "mlm": ("mlm", "bert", False),
}


@pytest.mark.parametrize("case", PRETRAINED)
def test_the_decoder_of_an_encloze_folder_is_loaded(tmp_path: Path, dataset: Path, case: str) -> None:
    objective, kind, restored = PRETRAINED[case]
    start, out = tmp_path / "start", tmp_path / "out"
    toys.encoder(kind, tokenizer().vocab_size).save(start)
    tokenizer().save(start, 64)
    train = ["--training.steps", "2", "--training.precision", "float32", "--training.learning_rate", "0.01"]
    flags = ["--corpus", str(dataset), "--model", str(start), "--objective", objective, "--output", str(out)]
    assert main(["pretrain", *flags, *train]) == 0
    made, messages = load(out)
    assert are_equal(made.lm, transformers.AutoModelForMaskedLM.from_pretrained(out))
    if restored:
        kept = load_file(str(out / "decoders.safetensors"))
        for ours, theirs in (("decoder.layers.0.", made.c_head), ("decoder.embeddings.", made.embeddings)):
            state = {f"{ours}{name}": value for name, value in theirs.state_dict().items()}
            assert state.keys() == {name for name in kept if name.startswith(ours)}
            assert all(torch.equal(value, kept[name]) for name, value in state.items())
        assert messages == []
    else:
        assert messages == [NEW_DECODER.format(out)]


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    folder = write_flag_embedding_folder(tmp_path / "theirs", make_model(), trap=Malicious(tmp_path / "touched"))
    with pytest.raises(
        CheckpointError, match=r"pytorch_model.bin is damaged or contains more than weights \(it refers to"
    ):
        load(folder)
    assert not (tmp_path / "touched").exists()
    torch.load(folder / BIN, weights_only=False)
    assert (tmp_path / "touched").exists()  # it runs when it is unpickled


def drop(name: str) -> dict[str, None]:
    return {name: None}


FAULTY: dict[str, tuple[dict[str, Any], str]] = {
    "half a decoder": (drop("c_head.output.dense.weight"), "missing: c_head.output.dense.weight"),
    "more": ({"bag.weight": torch.ones(2)}, "unknown: bag.weight"),
    "another layer": (
        {"lm.bert.encoder.layer.2.output.dense.bias": torch.ones(32)},
        "unknown: lm.bert.encoder.layer.2",
    ),
    "another size": ({"c_head.intermediate.dense.bias": torch.ones(8)}, "different shape: c_head.intermediate.dense."),
}


@pytest.mark.parametrize("case", FAULTY)
def test_incompatible_weights_are_named(tmp_path: Path, case: str) -> None:
    changed, message = FAULTY[case]
    with pytest.raises(CheckpointError, match=f"theirs contains an incompatible RetroMAE model .{message}") as caught:
        load(write_flag_embedding_folder(tmp_path / "theirs", make_model(), **changed))
    assert "subfolder encoder_model" in str(caught.value)


def test_a_missing_decoder_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    made = make_model()
    folder = write_flag_embedding_folder(tmp_path / "theirs", made)
    torch.save({f"lm.{name}": value for name, value in made.lm.state_dict().items()}, folder / BIN)
    with pytest.raises(CheckpointError, match="missing: c_head.attention.self.query.weight"):
        load(folder)


@pytest.mark.parametrize("content", [{"state_dict": {"a": torch.ones(1)}}, [torch.ones(1)], {"step": 3}], ids=str)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    folder = write_flag_embedding_folder(tmp_path / "theirs", make_model())
    torch.save(content, folder / BIN)
    with pytest.raises(CheckpointError, match=r"does not contain a state_dict\(\) of tensors by name"):
        load(folder)


@pytest.mark.parametrize("size", [0, 4, 1000])
def test_a_damaged_file_is_refused(tmp_path: Path, size: int) -> None:
    folder = write_flag_embedding_folder(tmp_path / "theirs", make_model())
    (folder / BIN).write_bytes(b"junk"[:size] if size < 5 else (folder / BIN).read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is damaged.*"):
        load(folder)


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "encoder_model").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="encoder_model is not a model folder: it has no config.json"):
        load(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="nowhere' is not a local folder"):
        load(tmp_path / "nowhere")


def test_ignored_arguments_give_a_warning(tmp_path: Path) -> None:
    make_model().lm.save_pretrained(tmp_path / "plain")
    with pytest.warns(UserWarning, match="ignores all arguments after the folder: cache_dir"):
        RetroMAEForPretraining.from_pretrained(ModelArguments(), str(tmp_path / "plain"), cache_dir="x")


# Collator


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_collator_returns_six_tensors(kind: str) -> None:
    fast = fast_tokenizer(kind)
    texts = [*toys.texts()[:3], "a small river"]
    batch = RetroMAECollator(tokenizer=fast)(texts)
    assert tuple(batch) == KEYS and all(tensor.dtype == torch.int64 for tensor in batch.values())
    expected = fast(texts, padding=True, return_tensors="pt")
    ids, real = expected["input_ids"], expected["attention_mask"]
    length = ids.shape[1]
    assert torch.equal(batch["decoder_input_ids"], ids) and torch.equal(batch["encoder_attention_mask"], real)
    assert [batch[name].shape for name in KEYS] == [
        (4, length, length) if "decoder_att" in n else (4, length) for n in KEYS
    ]
    special = torch.isin(ids, torch.tensor(fast.all_special_ids))
    labels = batch["encoder_labels"]
    assert torch.equal(labels[labels != -100], ids[labels != -100]) and not (labels != -100)[special].any()
    unchanged = labels == -100
    assert torch.equal(batch["encoder_input_ids"][unchanged], ids[unchanged])
    assert (batch["encoder_input_ids"] == fast.mask_token_id).any()
    assert torch.equal(batch["decoder_labels"], torch.where(special, -100, ids))
    mask = batch["decoder_attention_mask"]
    assert set(mask.unique().tolist()) == {0, 1} and not mask.diagonal(dim1=1, dim2=2)[real == 1].any()
    assert (mask[:, 1:, 0] == 1).all()  # all others attend to the embedding
    assert not mask.transpose(1, 2)[:, 1:][real[:, 1:] == 0].any()  # none attends to padding


def test_the_default_masking_rates() -> None:
    collate = RetroMAECollator(tokenizer=fast_tokenizer())
    assert (collate.encoder_mlm_probability, collate.decoder_mlm_probability, collate.max_seq_length) == (
        0.30,
        0.50,
        512,
    )
    text = " ".join(toys.texts())  # longer than the limit
    batch = collate([text])
    real = int(batch["encoder_attention_mask"].sum())
    assert real == 512
    assert int((batch["encoder_labels"] != -100).sum()) == round(0.30 * real)
    own = batch["decoder_labels"][0] != -100
    num_masked = (batch["decoder_attention_mask"][0] == 0).sum(dim=1)[own]
    assert set(num_masked.tolist()) <= {round(0.50 * real), round(0.50 * real) + 1}  # plus the position itself
    assert len({tuple(row.tolist()) for row in batch["decoder_attention_mask"][0]}) == real
    short = RetroMAECollator(fast_tokenizer(), 128, encoder_mlm_probability=0.15, decoder_mlm_probability=0.15)([text])
    assert (
        short["encoder_input_ids"].shape == (1, 128)
        and short["encoder_input_ids"][0, -1] == fast_tokenizer().sep_token_id
    )
    assert int((short["encoder_labels"] != -100).sum()) == round(0.15 * 128)


def test_masks_are_reproducible_and_differ_between_calls() -> None:
    collate = RetroMAECollator(tokenizer=fast_tokenizer())
    torch.manual_seed(1)
    one, two = collate(toys.texts()[:4]), collate(toys.texts()[:4])
    torch.manual_seed(1)
    loaded = collate(toys.texts()[:4])
    for name in KEYS:
        assert torch.equal(one[name], loaded[name])
        if name in ("encoder_input_ids", "encoder_labels", "decoder_attention_mask"):
            assert not torch.equal(one[name], two[name])
    twins = collate([toys.texts()[0]] * 2)  # one text twice in a batch
    assert not torch.equal(twins["encoder_labels"][0], twins["encoder_labels"][1])


class Texts(torch.utils.data.Dataset[str]):
    """A dataset of texts; by default those of the test data."""

    def __init__(self, texts: list[str] | None = None) -> None:
        self.texts = texts or toys.texts()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, number: int) -> str:
        return self.texts[number]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_workers_of_a_loader_draw_different_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    loader = torch.utils.data.DataLoader(
        Texts([toys.texts()[0]] * 4),  # type: ignore[arg-type]
        batch_size=1,
        num_workers=2,
        collate_fn=RetroMAECollator(tokenizer=fast_tokenizer()),
    )
    passes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        passes.append([tuple(given["encoder_labels"].flatten().tolist()) for given in loader])
    assert passes[0] == passes[1] != passes[2]
    assert len(set(passes[0])) == 4  # one worker makes batches 0 and 2, the other 1 and 3


@pytest.mark.parametrize(
    ("examples", "found"),
    [
        ([{"text": "x", "id": 3}], "dict with 'text', 'id'"),
        (["x", None], "NoneType"),
        ([("x", "y")], "tuple"),
        ([[2, 5, 3]], "list"),
        ("a text alone", "str"),
        ([], "nothing"),
    ],
)
def test_the_collator_refuses_other_inputs_than_texts(examples: Any, found: str) -> None:
    message = (
        rf"expects a list of one or more texts, found {found}. Give it a dataset whose items are texts, such as \[row"
    )
    with pytest.raises(DataError, match=message):
        RetroMAECollator(tokenizer=fast_tokenizer())(examples)


@pytest.mark.parametrize("made", [transformers.ByT5Tokenizer, transformers.CanineTokenizer])
def test_a_slow_tokenizer_is_refused(made: type) -> None:
    with pytest.raises(CheckpointError, match=f"{made.__name__} is not a fast tokenizer and cannot be saved"):
        RetroMAECollator(tokenizer=made())


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    without = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer().backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    message = "the tokenizer has no mask token .* Set mask_token in its tokenizer_config.json"
    with pytest.raises(CheckpointError, match=message):
        RetroMAECollator(tokenizer=without)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("encoder_mlm_probability", 30), ("decoder_mlm_probability", 0), ("max_seq_length", 2)],
)
def test_invalid_rates_and_lengths_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} must .* not {value}"):
        RetroMAECollator(tokenizer=fast_tokenizer(), **{setting: value})  # type: ignore[arg-type]


# Users' scripts


@dataclass
class DataTrainingArguments:
    """The other flags of FlagEmbedding's run.py."""

    train_data: str | None = field(default=None)
    tokenizer_name: str | None = field(default=None)
    max_seq_length: int | None = field(default=512)
    encoder_mlm_probability: float = field(default=0.3)
    decoder_mlm_probability: float = field(default=0.5)


def test_model_arguments_are_parsed_from_flags() -> None:
    parser = transformers.HfArgumentParser((ModelArguments, DataTrainingArguments))  # type: ignore[arg-type]
    found, data = parser.parse_args_into_dataclasses(["--model_name_or_path", "m", "--max_seq_length", "64"])
    assert found == ModelArguments(model_name_or_path="m", config_name=None) and data.max_seq_length == 64
    assert ModelArguments().model_name_or_path == "bert-base-uncased"


def test_a_script_with_its_own_training_loop(tmp_path: Path, model: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    mae = RetroMAEForPretraining.from_pretrained(ModelArguments(str(model)), str(model))
    mae.train()
    loader = torch.utils.data.DataLoader(
        Texts(),  # type: ignore[arg-type]
        batch_size=20,
        shuffle=True,
        collate_fn=RetroMAECollator(tokenizer, encoder_mlm_probability=0.3, decoder_mlm_probability=0.5),
    )
    optimizer, losses = torch.optim.AdamW(mae.parameters(), lr=3e-3), []
    for _ in range(8):
        for inputs in loader:
            loss = mae(**inputs)[0]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert sum(losses[-4:]) / 4 < 0.9 * sum(losses[:4]) / 4
    mae.save_pretrained(str(tmp_path / "out"))
    tokenizer.save_pretrained(str(tmp_path / "out" / "encoder_model"))
    corpus = str(toys.write_dataset(tmp_path / "toys"))
    for number, folder in enumerate((tmp_path / "out" / "encoder_model", tmp_path / "out")):
        out = ["--model", str(folder), "--output", str(tmp_path / f"index{number}")]
        assert main(["index", "--corpus", corpus, *out]) == 0


def test_the_outer_folder_is_a_model_and_its_tokenizer_may_be_in_either_folder(tmp_path: Path) -> None:
    folder = write_flag_embedding_folder(tmp_path / "out", make_model())
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / "encoder_model" / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json .*Save the model's fast tokenizer there"):
        Encoder.from_pretrained(folder)
    toys.tokenizer().save(folder, 64)
    outer = Encoder.from_pretrained(folder, precision="float32").encode_queries(["a river"])
    toys.tokenizer().save(folder / "encoder_model", 64)
    inner = Encoder.from_pretrained(folder / "encoder_model", precision="float32").encode_queries(["a river"])
    np.testing.assert_array_equal(outer, inner)


class PreTrainer(transformers.Trainer):
    """FlagEmbedding's Trainer, which saves with save_pretrained, and the tokenizer beside the encoder."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(str(folder))
        self.processing_class.save_pretrained(str(folder / "encoder_model"))
        torch.save(self.args, folder / "training_args.bin")


@pytest.fixture
def fresh_accelerate_state() -> Iterator[None]:
    """Reset the process-wide state of accelerate, which Trainer sets, after the test."""
    from accelerate.state import AcceleratorState, GradientState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_a_script_with_transformers_trainer(tmp_path: Path, model: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    mae = RetroMAEForPretraining.from_pretrained(ModelArguments(str(model)), str(model))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=3,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        per_device_train_batch_size=20,
        remove_unused_columns=False,
        activation_checkpointing=True,
        save_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    collate = RetroMAECollator(tokenizer, encoder_mlm_probability=0.3, decoder_mlm_probability=0.5, max_seq_length=64)
    trainer = PreTrainer(
        model=mae, args=arguments, train_dataset=Texts(), data_collator=collate, processing_class=tokenizer
    )
    given = collate(toys.texts())
    before = mae.eval()(**given)[0].item()
    assert trainer.train().global_step == 3
    after = mae.eval()(**given)[0].item()
    assert after < before - 0.05
    trainer.save_model()
    loaded, messages = load(tmp_path / "out")
    assert are_equal(loaded, mae) and messages == []
    halfway, messages = load(tmp_path / "out" / "checkpoint-2")
    assert messages == [] and not are_equal(halfway.c_head, mae.c_head)

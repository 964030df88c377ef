"""FlagEmbedding's RetroMAE classes: its equations, its folders, and its scripts with the import line changed."""

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
from encloze import ModelArguments, RetroMAECollator, RetroMAEForPretraining, progress
from encloze.cli.main import main
from encloze.errors import CheckpointError, DataError, EnclozeError
from encloze.objectives.retromae import RetroMae
from encloze.text.tokenizer import Tokenizer

KINDS = ("bert", "roberta", "xlm_roberta", "mpnet", "distilbert", "deberta_v2", "electra", "modernbert")
THEIRS = ("bert", "roberta")  # what FlagEmbedding's class knows
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


def fast(kind: str = "bert") -> Any:
    """One of transformers' fast tokenizers, with the pieces of one trained on the toys."""
    names = {"[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[UNK]": "<unk>", "[MASK]": "<mask>"}
    if kind == "bert":
        return transformers.BertTokenizerFast(vocab=tokenizer().core.get_vocab())
    if kind == "roberta":
        model = json.loads(tokenizer("bpe").core.to_str())["model"]
        pieces = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
        return transformers.RobertaTokenizerFast(vocab=pieces, merges=[tuple(pair) for pair in model["merges"]])
    if kind == "xlm_roberta":
        model = json.loads(tokenizer("unigram").core.to_str())["model"]
        return transformers.XLMRobertaTokenizerFast(vocab=[(names.get(p, p), score) for p, score in model["vocab"]])
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer().core, **roles)


TOKENIZERS = ("bert", "roberta", "xlm_roberta", "of no class")


def model(kind: str = "bert", *, dropout: float = 0.0, seed: int = 0) -> RetroMAEForPretraining:
    """The class over a tiny encoder; no bias is 0 and no norm 1, which would hide a mistake."""
    made = RetroMAEForPretraining(toys.encoder(kind, tokenizer().size, dropout=dropout, seed=seed).model)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.3)
    return made


def batch(texts: int = 4, seed: int = 5, **rates: float) -> dict[str, Tensor]:
    """The six tensors of the first texts and a short one."""
    torch.manual_seed(seed)
    return RetroMAECollator(tokenizer(), **rates)([*toys.texts()[:texts], "a small river"])  # type: ignore[arg-type]


def as_they_pad(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch whose padded places see nothing at all, as FlagEmbedding's collator makes it."""
    real = given["encoder_attention_mask"]
    assert (real == 0).any()
    return given | {"decoder_attention_mask": given["decoder_attention_mask"] * real[:, :, None]}


def gradients(made: nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in made.named_parameters() if weight.grad is not None}


class Heard(progress.Listener):
    """Keeps what is noted and warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")


NONE = "{} has no decoder that is like this one: a new one begins"


def loaded(folder: Path) -> tuple[RetroMAEForPretraining, list[str]]:
    """The model of a folder, and what was said of it; new weights would be others than those of seed 0."""
    torch.manual_seed(99)
    heard = Heard()
    with progress.listening(heard):
        made = RetroMAEForPretraining.from_pretrained(ModelArguments(), folder)
    return made, [text for text in heard.said if "does not say how it is pooled" not in text]


def equal(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ------------------------------------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_objective(kind: str) -> None:
    """The mean of the encoder's term and that of the decoder's, of the same draws and weights."""
    backbone = toys.encoder(kind, tokenizer().size)
    module = RetroMae().module(backbone, tokenizer(), "cls").double()
    made = RetroMAEForPretraining(backbone.model).double()
    made.c_head.load_state_dict(module.decoder.layers[0].state_dict())
    made.places.load_state_dict(module.decoder.places.state_dict())
    texts = toys.text_batches(tokenizer())[1](np.array([0, 7, 21, 38]), 1, torch.device("cpu"))
    drawn = module.draw(texts)
    reading = module.read(drawn)
    sums, counts = reading.sums | module.rebuild(drawn, reading), drawn.counts()
    expected = sums["encoder"] / counts["encoder"] + sums["decoder"] / counts["decoder"]
    (loss,) = made(
        drawn.encoder.ids,
        texts.attention.long(),
        drawn.encoder.labels,
        texts.ids,
        drawn.visible.long(),
        drawn.decoder.labels,
    )
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12) and loss > 1
    loss.backward()
    found = gradients(made)
    made.zero_grad()
    expected.backward()
    named = {name.replace("backbone.model.", "lm."): weight for name, weight in module.named_parameters()}
    for name, gradient in found.items():
        own = named[name.replace("c_head.", "decoder.layers.0.").replace("places.", "decoder.places.")]
        torch.testing.assert_close(gradient, own.grad, atol=1e-9, rtol=1e-9)
    assert any(name.startswith("lm.") for name in found) and any(name.startswith("c_head.") for name in found)


def literal(made: RetroMAEForPretraining, given: dict[str, Tensor]) -> Tensor:
    """What FlagEmbedding's forward works out: all logits, an additive mask, means over what has a label."""
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


@pytest.mark.parametrize("kind", THEIRS)
def test_the_loss_and_its_gradients_are_those_of_flag_embedding(kind: str) -> None:
    made, given = model(kind).double(), as_they_pad(batch())
    (loss,) = made(**given)
    loss.backward()
    found = gradients(made)
    made.zero_grad()
    expected = literal(made, given)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    expected.backward()
    wanted = gradients(made)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", KEYS)
def test_each_of_the_six_tensors_counts(name: str) -> None:
    made, given = model().double(), batch()
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
def test_padded_places_that_see_nothing_do_no_harm(kind: str) -> None:
    made, given = model(kind).train(), batch()
    seen: list[Tensor] = []
    made.c_head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[2]))
    (loss,) = made(**as_they_pad(given))
    loss.backward()
    assert seen[0].any(dim=2).all()  # some kernels make NaN of a place that sees nothing
    assert loss == made(**given)[0] and torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(made).values())


def test_texts_without_a_token_do_no_harm() -> None:
    made = model()
    for texts in (["", "a"], [""]):
        (loss,) = made(**RetroMAECollator(tokenizer())(texts))
        loss.backward()
        assert torch.isfinite(loss) and all(torch.isfinite(found).all() for found in gradients(made).values())


def test_autocast_changes_little() -> None:
    made, given = model(), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (loss,) = made(**given)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(made(**given)[0].item(), rel=0.02)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(made).values())


@pytest.mark.parametrize("called", ["gradient_checkpointing_enable", "activation_checkpointing_enable"])
def test_gradient_checkpointing_works_layers_out_twice_to_the_same_end(called: str) -> None:
    found, calls = [], []
    for enabled in (False, True):
        made, given = model(dropout=0.1).train(), batch()
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


# ------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_called_as_theirs(kind: str) -> None:
    made = model(kind)
    names = made.state_dict().keys()
    own = {name for name in names if not name.startswith(("lm.", "c_head."))}
    blind = kind in ("deberta_v2", "electra", "modernbert")  # their embeddings add no position as wide as they are
    assert own == {f"places.{name}" for name in ("table.weight", "norm.weight", "norm.bias") if blind}
    assert {name.removeprefix("lm.") for name in names if name.startswith("lm.")} == made.lm.state_dict().keys()
    theirs = BertLayer(toys.backbone().config).state_dict()
    here = made.c_head.state_dict()
    assert {name: value.shape for name, value in here.items()} == {n: v.shape for n, v in theirs.items()}


def test_the_decoder_is_berts_layer_where_it_asks_with_what_it_sees() -> None:
    made = model()
    theirs = BertLayer(made.lm.config).eval()
    theirs.load_state_dict(made.c_head.state_dict())
    vectors = torch.randn(2, 5, 32)
    everything = torch.ones(2, 5, 5, dtype=torch.bool)
    found = theirs(vectors)
    torch.testing.assert_close(
        made.c_head(vectors, vectors, everything), found[0] if isinstance(found, tuple) else found
    )


def test_the_decoder_begins_as_bert_does_and_is_repeated_by_the_seed() -> None:
    bert = toys.encoder("bert", tokenizer().size).model
    assert bert.config.initializer_range == 0.1

    def begun(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return RetroMAEForPretraining(bert).c_head

    one, other = begun(1), begun(2)
    assert equal(one, begun(1))
    weights = torch.cat([value.detach().flatten() for name, value in one.named_parameters() if value.dim() == 2])
    assert float(weights.std()) == pytest.approx(0.1, rel=0.04) and abs(float(weights.mean())) < 0.004
    for name, value in one.named_parameters():
        if value.dim() == 1:
            assert (value == float(name.endswith("LayerNorm.weight"))).all(), name
        else:
            assert not torch.equal(value, dict(other.named_parameters())[name])


def test_a_copy_holds_its_own_encoder() -> None:
    made = model()
    other = copy.deepcopy(made)
    assert other.backbone.model is other.lm and other.lm is not made.lm
    nn.init.zeros_(other.lm.bert.embeddings.word_embeddings.weight)
    given = batch()
    assert made(**given)[0] != other(**given)[0]


def test_copies_for_data_parallel_are_refused() -> None:
    """Torch calls this for each further GPU; the copies have no parameters, so the head would not learn."""
    with pytest.raises(EnclozeError, match="torchrun --nproc_per_node"):
        model()._replicate_for_data_parallel()


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(CheckpointError, match="has no head for masked language modelling"):
        RetroMAEForPretraining(toys.encoder("bert", 300).model.bert)


# ------------------------------------------------------------------------------------------------------------- folders


def write_theirs(folder: Path, made: RetroMAEForPretraining, **more: Any) -> Path:
    """A folder as FlagEmbedding writes it: the embeddings stand in it twice, and old buffers do."""
    made.lm.save_pretrained(folder / "encoder_model")
    tables = made.lm.base_model.embeddings
    state = made.state_dict() | {f"decoder_embeddings.{name}": value for name, value in tables.state_dict().items()}
    for prefix in (f"lm.{made.lm.base_model_prefix}.embeddings", "decoder_embeddings"):
        state[f"{prefix}.position_ids"] = torch.arange(64)[None]
    torch.save({name: value for name, value in (state | more).items() if value is not None}, folder / BIN)
    return folder


BIN = "pytorch_model.bin"


@pytest.mark.parametrize("kind", THEIRS)
@pytest.mark.parametrize("old", [False, True])
def test_a_folder_of_flag_embedding_gives_the_same_loss(tmp_path: Path, kind: str, old: bool) -> None:
    made = model(kind)
    folder = write_theirs(tmp_path / "theirs", made)
    if old:  # the years before safetensors
        (folder / "encoder_model" / "model.safetensors").unlink()
        torch.save(made.lm.state_dict(), folder / "encoder_model" / BIN)
    again, said = loaded(folder)
    assert equal(again, made) and said == []
    given = batch()
    assert torch.equal(again(**given)[0], made(**given)[0])


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "deberta_v2", "electra"])
def test_what_was_saved_is_restored_bit_for_bit(tmp_path: Path, kind: str) -> None:
    made = model(kind)
    made.save_pretrained(str(tmp_path / "out"))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"encoder_model", BIN}
    again, said = loaded(tmp_path / "out")
    assert equal(again, made) and said == []
    state = torch.load(tmp_path / "out" / BIN, weights_only=True)
    assert state.keys() == made.state_dict().keys()
    plain = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out" / "encoder_model")
    assert equal(plain, made.lm)
    other = model(kind, seed=1)
    other.save_pretrained(tmp_path / "out")  # over it
    assert equal(loaded(tmp_path / "out")[0], other) and not equal(other, made)


def test_a_plain_model_gets_a_new_decoder_which_is_said(tmp_path: Path) -> None:
    made = model()
    made.lm.save_pretrained(tmp_path / "plain")
    again, said = loaded(tmp_path / "plain")
    assert equal(again.lm, made.lm) and said == [
        f"{tmp_path / 'plain'} has no decoder that is like this one: a new one begins"
    ]
    assert not equal(again.c_head, made.c_head)
    made.save_pretrained(tmp_path / "out")
    (tmp_path / "out" / BIN).unlink()
    again, said = loaded(tmp_path / "out")
    assert equal(again.lm, made.lm) and said == [
        f"{tmp_path / 'out'} has no decoder that is like this one: a new one begins"
    ]


OTHERWISE = {
    "another bottleneck": ["--objective.bottleneck", "mean"],
    "another stream": ["--objective.query_stream", "raw"],
    "another decoding": ["--objective.decoding", "basic"],
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_a_decoder_that_was_trained_otherwise_is_not_taken(tmp_path: Path, dataset: Path, case: str) -> None:
    begun, out = tmp_path / "begun", tmp_path / "out"
    toys.encoder("bert", tokenizer().size).save(begun)
    tokenizer().save(begun, 64)
    put = ["--corpus", str(dataset), "--model", str(begun), "--objective", "retromae", "--output", str(out)]
    assert main(["pretrain", *put, "--training.steps", "1", "--training.precision", "float32", *OTHERWISE[case]]) == 0
    assert loaded(out)[1] == [NONE.format(out)]


PRETRAINED = {
    "retromae": ("retromae", "bert", True),
    "retromae with places of its own": ("retromae", "deberta_v2", True),
    "dupmae": ("dupmae", "bert", True),  # its decoder is RetroMAE's; its bag of tokens stays behind
    "cotmae": ("cotmae", "bert", False),  # two layers
    "mlm": ("mlm", "bert", False),
}


@pytest.mark.parametrize("case", PRETRAINED)
def test_a_folder_of_encloze_goes_on_with_its_decoder(tmp_path: Path, dataset: Path, case: str) -> None:
    objective, kind, restored = PRETRAINED[case]
    begun, out = tmp_path / "begun", tmp_path / "out"
    toys.encoder(kind, tokenizer().size).save(begun)
    tokenizer().save(begun, 64)
    train = ["--training.steps", "2", "--training.precision", "float32", "--training.learning_rate", "0.01"]
    put = ["--corpus", str(dataset), "--model", str(begun), "--objective", objective, "--output", str(out)]
    assert main(["pretrain", *put, *train]) == 0
    made, said = loaded(out)
    assert equal(made.lm, transformers.AutoModelForMaskedLM.from_pretrained(out))
    if restored:
        kept = load_file(str(out / "decoders.safetensors"))
        for ours, theirs in (("decoder.layers.0.", made.c_head), ("decoder.places.", made.places)):
            state = {f"{ours}{name}": value for name, value in theirs.state_dict().items()}
            assert state.keys() == {name for name in kept if name.startswith(ours)}
            assert all(torch.equal(value, kept[name]) for name, value in state.items())
        assert said == []
    else:
        assert said == [NONE.format(out)]


class Trap:
    """Would make a folder where a pickle of it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    folder = write_theirs(tmp_path / "theirs", model(), trap=Trap(tmp_path / "touched"))
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is damaged or holds more than weights \(it asks for"):
        loaded(folder)
    assert not (tmp_path / "touched").exists()
    torch.load(folder / BIN, weights_only=False)
    assert (tmp_path / "touched").exists()  # the trap works


def drop(name: str) -> dict[str, None]:
    return {name: None}


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "half a decoder": (drop("c_head.output.dense.weight"), "missing: c_head.output.dense.weight"),
    "more": ({"bag.weight": torch.ones(2)}, "unknown: bag.weight"),
    "another layer": (
        {"lm.bert.encoder.layer.2.output.dense.bias": torch.ones(32)},
        "unknown: lm.bert.encoder.layer.2",
    ),
    "another size": ({"c_head.intermediate.dense.bias": torch.ones(8)}, "of another size: c_head.intermediate.dense."),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_weights_of_another_make_are_named(tmp_path: Path, case: str) -> None:
    changed, says = FOREIGN[case]
    with pytest.raises(CheckpointError, match=f"theirs holds another make of RetroMAE .{says}") as caught:
        loaded(write_theirs(tmp_path / "theirs", model(), **changed))
    assert "encoder_model in it" in str(caught.value)


def test_a_decoder_that_is_not_there_at_all_is_no_new_one(tmp_path: Path) -> None:
    made = model()
    folder = write_theirs(tmp_path / "theirs", made)
    torch.save({f"lm.{name}": value for name, value in made.lm.state_dict().items()}, folder / BIN)
    with pytest.raises(CheckpointError, match="missing: c_head.attention.self.query.weight"):
        loaded(folder)


@pytest.mark.parametrize("held", [{"state_dict": {"a": torch.ones(1)}}, [torch.ones(1)], {"step": 3}], ids=str)
def test_a_file_that_is_no_state_dict_is_named(tmp_path: Path, held: Any) -> None:
    folder = write_theirs(tmp_path / "theirs", model())
    torch.save(held, folder / BIN)
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is no state_dict\(\): tensors by name were expected"):
        loaded(folder)


@pytest.mark.parametrize("left", [0, 4, 1000])
def test_a_damaged_file_is_named(tmp_path: Path, left: int) -> None:
    folder = write_theirs(tmp_path / "theirs", model())
    (folder / BIN).write_bytes(b"junk"[:left] if left < 5 else (folder / BIN).read_bytes()[:left])
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is damaged.*"):
        loaded(folder)


def test_folders_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty" / "encoder_model").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="encoder_model is no model folder: it has no config.json"):
        loaded(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="nowhere' is no folder here"):
        loaded(tmp_path / "nowhere")


def test_arguments_for_transformers_are_not_lost_in_silence(tmp_path: Path) -> None:
    model().lm.save_pretrained(tmp_path / "plain")
    with pytest.warns(UserWarning, match="takes a folder and nothing more: cache_dir is left out"):
        RetroMAEForPretraining.from_pretrained(ModelArguments(), str(tmp_path / "plain"), cache_dir="x")


# ------------------------------------------------------------------------------------------------------------ collator


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_collator_makes_six_tensors(kind: str) -> None:
    theirs = fast(kind)
    texts = [*toys.texts()[:3], "a small river"]
    made = RetroMAECollator(tokenizer=theirs)(texts)
    assert tuple(made) == KEYS and all(tensor.dtype == torch.int64 for tensor in made.values())
    expected = theirs(texts, padding=True, return_tensors="pt")
    ids, real = expected["input_ids"], expected["attention_mask"]
    length = ids.shape[1]
    assert torch.equal(made["decoder_input_ids"], ids) and torch.equal(made["encoder_attention_mask"], real)
    assert [made[name].shape for name in KEYS] == [
        (4, length, length) if "decoder_att" in n else (4, length) for n in KEYS
    ]
    special = torch.isin(ids, torch.tensor(theirs.all_special_ids))
    labels = made["encoder_labels"]
    assert torch.equal(labels[labels != -100], ids[labels != -100]) and not (labels != -100)[special].any()
    unchanged = labels == -100
    assert torch.equal(made["encoder_input_ids"][unchanged], ids[unchanged])
    assert (made["encoder_input_ids"] == theirs.mask_token_id).any()
    assert torch.equal(made["decoder_labels"], torch.where(special, -100, ids))
    seen = made["decoder_attention_mask"]
    assert set(seen.unique().tolist()) == {0, 1} and not seen.diagonal(dim1=1, dim2=2)[real == 1].any()
    assert (seen[:, 1:, 0] == 1).all()  # all others see the embedding
    assert not seen.transpose(1, 2)[:, 1:][real[:, 1:] == 0].any()  # and none sees padding


def test_the_rates_are_the_recipes() -> None:
    made = RetroMAECollator(tokenizer=fast())
    assert (made.encoder_mlm_probability, made.decoder_mlm_probability, made.max_seq_length) == (0.30, 0.50, 512)
    text = " ".join(toys.texts())  # of many tokens
    given = made([text])
    real = int(given["encoder_attention_mask"].sum())
    assert real == 512
    assert int((given["encoder_labels"] != -100).sum()) == round(0.30 * real)
    own = given["decoder_labels"][0] != -100
    hidden = (given["decoder_attention_mask"][0] == 0).sum(dim=1)[own]
    assert set(hidden.tolist()) <= {round(0.50 * real), round(0.50 * real) + 1}  # and the place itself
    assert len({tuple(row.tolist()) for row in given["decoder_attention_mask"][0]}) == real
    less = RetroMAECollator(fast(), 128, encoder_mlm_probability=0.15, decoder_mlm_probability=0.15)([text])
    assert less["encoder_input_ids"].shape == (1, 128) and less["encoder_input_ids"][0, -1] == fast().sep_token_id
    assert int((less["encoder_labels"] != -100).sum()) == round(0.15 * 128)


def test_the_seed_repeats_the_holes_and_each_call_draws_others() -> None:
    collate = RetroMAECollator(tokenizer=fast())
    torch.manual_seed(1)
    one, two = collate(toys.texts()[:4]), collate(toys.texts()[:4])
    torch.manual_seed(1)
    again = collate(toys.texts()[:4])
    for name in KEYS:
        assert torch.equal(one[name], again[name])
        if name in ("encoder_input_ids", "encoder_labels", "decoder_attention_mask"):
            assert not torch.equal(one[name], two[name])
    twins = collate([toys.texts()[0]] * 2)  # the same text twice in a batch
    assert not torch.equal(twins["encoder_labels"][0], twins["encoder_labels"][1])


class Texts(torch.utils.data.Dataset[str]):
    """The toys' texts, or one text many times."""

    def __init__(self, texts: list[str] | None = None) -> None:
        self.texts = texts or toys.texts()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, number: int) -> str:
        return self.texts[number]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_workers_of_a_loader_draw_different_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    loader = torch.utils.data.DataLoader(
        Texts([toys.texts()[0]] * 4),  # type: ignore[arg-type]
        batch_size=1,
        num_workers=2,
        collate_fn=RetroMAECollator(tokenizer=fast()),
    )
    passes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        passes.append([tuple(given["encoder_labels"].flatten().tolist()) for given in loader])
    assert passes[0] == passes[1] != passes[2]
    assert len(set(passes[0])) == 4  # the batches 0 and 2 are of one worker, 1 and 3 of the other


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([{"text": "x", "id": 3}], "dict with 'text', 'id'"),
        (["x", None], "NoneType"),
        ([("x", "y")], "tuple"),
        ([[2, 5, 3]], "list"),
        ("a text alone", "str"),
        ([], "nothing"),
    ],
)
def test_the_collator_wants_texts(given: Any, found: str) -> None:
    says = (
        rf"takes a list of texts, one or more, and found {found}. Give it a data set whose items are texts, say \[row"
    )
    with pytest.raises(DataError, match=says):
        RetroMAECollator(tokenizer=fast())(given)


@pytest.mark.parametrize("made", [transformers.ByT5Tokenizer, transformers.CanineTokenizer])
def test_a_tokenizer_in_python_alone_is_refused(made: type) -> None:
    with pytest.raises(
        CheckpointError, match=f"{made.__name__} is no fast tokenizer.* Take a model whose tokenizer has"
    ):
        RetroMAECollator(tokenizer=made())


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    without = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer().core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    says = "the tokenizer has no mask token .* Name one of its tokens as mask_token in its tokenizer_config.json"
    with pytest.raises(CheckpointError, match=says):
        RetroMAECollator(tokenizer=without)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("encoder_mlm_probability", 30), ("decoder_mlm_probability", 0), ("max_seq_length", 2)],
)
def test_rates_and_lengths_that_cannot_be_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} must .* not {value}"):
        RetroMAECollator(tokenizer=fast(), **{setting: value})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ users' scripts


@dataclass
class DataTrainingArguments:
    """The other flags of FlagEmbedding's run.py, under their names."""

    train_data: str | None = field(default=None)
    tokenizer_name: str | None = field(default=None)
    max_seq_length: int | None = field(default=512)
    encoder_mlm_probability: float = field(default=0.3)
    decoder_mlm_probability: float = field(default=0.5)


def test_the_flags_of_a_script_are_parsed() -> None:
    parser = transformers.HfArgumentParser((ModelArguments, DataTrainingArguments))  # type: ignore[arg-type]
    found, data = parser.parse_args_into_dataclasses(["--model_name_or_path", "m", "--max_seq_length", "64"])
    assert found == ModelArguments(model_name_or_path="m", config_name=None) and data.max_seq_length == 64
    assert ModelArguments().model_name_or_path == "bert-base-uncased"


def test_a_script_with_a_loop_of_its_own(tmp_path: Path, model: Path) -> None:
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
    out = ["--model", str(tmp_path / "out" / "encoder_model"), "--output", str(tmp_path / "index")]
    assert main(["index", "--corpus", str(toys.write_dataset(tmp_path / "toys")), *out]) == 0


class PreTrainer(transformers.Trainer):
    """As FlagEmbedding's: a Trainer that saves what save_pretrained does, and the tokenizer with the encoder."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(str(folder))
        self.processing_class.save_pretrained(str(folder / "encoder_model"))
        torch.save(self.args, folder / "training_args.bin")


@pytest.fixture
def accelerate_anew() -> Iterator[None]:
    """Trainer sets accelerate up for the whole process; the tests after this one find it as it was."""
    from accelerate.state import AcceleratorState, GradientState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.usefixtures("accelerate_anew")
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
    again, said = loaded(tmp_path / "out")
    assert equal(again, mae) and said == []
    halfway, said = loaded(tmp_path / "out" / "checkpoint-2")
    assert said == [] and not equal(halfway.c_head, mae.c_head)

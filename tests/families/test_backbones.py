"""Encoders of every family compute the same as in transformers, and are saved in its layout."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ElectraForPreTraining,
    ErnieConfig,
    LayoutLMConfig,
    ModernBertConfig,
    MPNetConfig,
    RemBertConfig,
    RobertaConfig,
    SplinterConfig,
    XLMConfig,
    XLMRobertaConfig,
)

import toys
from encloze import progress
from encloze.backbones.base import Backbone
from encloze.backbones.hf.inference import has_packed_products
from encloze.backbones.hf.layer_config import LayerConfig
from encloze.errors import CheckpointError, RecipeError
from encloze.models.bi_encoder import BiEncoder

# transformers 5.17 scripts parts of DeBERTa as it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

LAYERS = 3
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 200,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
}
OFFSET = {**SIZES, "max_position_embeddings": 66}  # two positions are never used
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
V3 = {**RELATIVE, "position_biased_input": False, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
MEMBERS = {
    "bert": BertConfig(**SIZES),
    "deberta-v2": DebertaV2Config(**SIZES, **V3, share_att_key=True),
    # transformers 5.17 cannot load this head if the configuration ties it. Its only matrix is that of the embeddings.
    "deberta-v2, own head": DebertaV2Config(**SIZES, **V3, legacy=False, tie_word_embeddings=False),
    "deberta-v2, convolution": DebertaV2Config(**SIZES, **V3, conv_kernel_size=3),
    "deberta-v2, absolute": DebertaV2Config(**SIZES, **RELATIVE, position_biased_input=True),
    "distilbert": DistilBertConfig(
        dim=32,
        n_layers=LAYERS,
        n_heads=2,
        hidden_dim=48,
        vocab_size=200,
        max_position_embeddings=64,
        dropout=0.3,
        attention_dropout=0.2,
    ),
    "electra": ElectraConfig(**SIZES, embedding_size=32),
    "electra, narrow": ElectraConfig(**SIZES, embedding_size=16),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, norm_eps=1e-4, mlp_dropout=0.3, attention_dropout=0.2, local_attention=8
    ),
    "mpnet": MPNetConfig(**OFFSET),
    "roberta": RobertaConfig(**OFFSET),
    "xlm-roberta": XLMRobertaConfig(**OFFSET, layer_norm_eps=1e-5),
}
OTHERS = {
    "albert": AlbertConfig(**SIZES, embedding_size=16, hidden_dropout_prob=0.1),
    "camembert": CamembertConfig(**OFFSET),
    "ernie": ErnieConfig(**SIZES),
    "layoutlm": LayoutLMConfig(**SIZES),  # its embeddings also take bounding boxes
}
HEADLESS = {
    "splinter": SplinterConfig(**SIZES),
    "xlm": XLMConfig(emb_dim=32, n_layers=LAYERS, n_heads=2, n_words=200, max_position_embeddings=64),
}
HEADED = MEMBERS | OTHERS
CONFIGS = HEADED | HEADLESS
POSITIONED = ["bert", "camembert", "deberta-v2, absolute", "distilbert", "electra", "ernie", "mpnet"]
POSITIONED += ["roberta", "xlm-roberta"]
each_kind = pytest.mark.parametrize("kind", sorted(CONFIGS))
each_headed = pytest.mark.parametrize("kind", sorted(HEADED))


def save_encoder(kind: str, folder: Path) -> Path:
    """Save an encoder of transformers with random weights, without a head, and the toy tokenizer."""
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS[kind]).save_pretrained(folder)
    toys.tokenizer().save(folder, 64)
    return folder


def make_backbone(kind: str) -> Backbone:
    torch.manual_seed(0)
    return Backbone.from_config(HEADED[kind]).eval()


@cache
def shared_backbone(kind: str) -> Backbone:
    """Return a backbone that tests must not change."""
    return make_backbone(kind)


def make_batch(length: int, config: Any = None, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Ids and attention, 2 x (length + padding)."""
    ids = torch.randint(5, 100, (2, length), generator=torch.Generator().manual_seed(length))
    pads = torch.full((2, padding), config.pad_token_id if padding else 0)
    real = torch.arange(length + padding).expand(2, -1) < length
    return torch.cat([ids, pads], dim=1), real


def record_inputs(layer: nn.Module) -> list[Tensor]:
    """Return a list to which each input of a layer is appended."""
    inputs: list[Tensor] = []

    def append(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs.append(arguments[0] if arguments else named["hidden_states"])

    layer.register_forward_pre_hook(append, with_kwargs=True)
    return inputs


def notes_of(action: Any) -> list[str]:
    """Return the progress notes of an action."""
    notes: list[str] = []

    class Recorder(progress.Listener):
        """Records notes."""

        def note(self, text: str) -> None:
            notes.append(text)

    with progress.use_listener(Recorder()):
        action()
    return notes


def test_every_member_is_tested() -> None:
    assert {kind.partition(",")[0].replace("-", "_") for kind in MEMBERS} == set(Backbone.members())
    assert all(type(make_backbone(kind)) is not Backbone for kind in MEMBERS) and all(
        type(make_backbone(o)) is Backbone for o in OTHERS
    )


@each_kind
def test_hidden_states_equal_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = save_encoder(kind, tmp_path / "model")
    backbone = Backbone.load(folder, require_mlm_head=False).eval()
    assert backbone.max_tokens == 64 and backbone.hidden_size == 32
    assert (
        not backbone.has_mlm_head
        and backbone.missing_mlm_head_reason() == "the model folder has no weights of such a head"
    )
    ids, attention = make_batch(64)
    attention = attention.clone()
    attention[1, 40:] = False
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).eval()(input_ids=ids, attention_mask=attention.long())
        found = backbone.encode(ids, attention)
    torch.testing.assert_close(found[0], expected.last_hidden_state[0])
    torch.testing.assert_close(found[1, :40], expected.last_hidden_state[1, :40])


@each_kind
def test_a_saved_encoder_gives_the_same_embeddings(kind: str, tmp_path: Path) -> None:
    encoder = BiEncoder.load(str(save_encoder(kind, tmp_path / "model")), precision="float32")
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    again = BiEncoder.load(str(tmp_path / "saved"), precision="float32")
    first, second = encoder.encode_queries(toys.texts()).dense, again.encode_queries(toys.texts()).dense
    assert first is not None and second is not None and (first == second).all()


@each_headed
def test_padding_does_not_change_hidden_states(kind: str) -> None:
    backbone = shared_backbone(kind)
    short, padded = make_batch(9), make_batch(9, backbone.config, padding=5)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode(*padded)[:, :9], backbone.encode(*short), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone.embed(padded[0])[:, :9], backbone.embed(short[0]))


@each_headed
def test_the_mlm_head_gives_the_logits_of_the_model(kind: str) -> None:
    backbone = shared_backbone(kind)
    ids, attention = make_batch(10)
    with torch.no_grad():
        hidden, logits = (
            backbone.encode(ids, attention),
            backbone.model(input_ids=ids, attention_mask=attention.long()).logits,
        )
        torch.testing.assert_close(backbone.mlm_head()(hidden), logits)
        torch.testing.assert_close(backbone.mlm_logits(hidden), logits)
        one = backbone.mlm_head()
        torch.testing.assert_close(one.transform(hidden) @ one.decoder.weight.T + one.decoder.bias, logits)
    assert backbone.missing_mlm_head_reason() is None and backbone.has_mlm_head
    assert backbone.mlm_head().decoder.weight is backbone.encoder.get_input_embeddings().weight  # one matrix


@each_headed
def test_the_mlm_head_shares_all_weights_of_the_models_head(kind: str) -> None:
    backbone = make_backbone(kind)
    ids, attention = make_batch(6)
    backbone.mlm_logits(backbone.encode(ids, attention)).sum().backward()
    own = {id(weight) for weight in backbone.model.parameters()}
    assert {id(weight) for weight in backbone.mlm_head().parameters()} <= own
    assert all(weight.grad is not None for weight in backbone.mlm_head().parameters())
    encoder = {id(weight) for weight in backbone.encoder.parameters()}
    assert own - encoder <= {id(weight) for weight in backbone.mlm_head().parameters()}
    plain = AutoModelForMaskedLM.from_config(HEADED[kind]).state_dict()
    assert {f"model.{name}" for name in plain} == set(backbone.state_dict())


@each_headed
def test_embed_gives_the_input_of_the_first_layer(kind: str) -> None:
    backbone = shared_backbone(kind)
    ids, attention = make_batch(8)
    inputs = record_inputs(backbone.layers()[0])
    with torch.no_grad():
        backbone.encode(ids, attention)
        torch.testing.assert_close(backbone.embed(ids), inputs[0])
    assert backbone.embed(ids).shape == (2, 8, 32)


@each_headed
def test_position_embeddings_are_added_if_the_encoder_has_them(kind: str) -> None:
    backbone = shared_backbone(kind)
    assert backbone.has_position_embeddings == (kind in POSITIONED)
    if not backbone.has_position_embeddings:
        with pytest.raises(NotImplementedError, match="encoders have no absolute position embeddings"):
            backbone.add_position_embeddings(torch.zeros(1, 4, 32))
        with pytest.raises(NotImplementedError, match="encoders have no absolute position embeddings"):
            backbone.position_embeddings(4)
        return
    ids, _ = make_batch(64)
    with torch.no_grad():
        tokens = backbone.encoder.get_input_embeddings()(ids)
        torch.testing.assert_close(backbone.add_position_embeddings(tokens), backbone.embed(ids))
        # A token embedding minus its position gives the same vector at every position.
        same = backbone.add_position_embeddings(tokens[:, :1] - backbone.position_embeddings(64))
        torch.testing.assert_close(same, same[:, :1].expand(-1, 64, -1), rtol=1e-4, atol=1e-5)
    table = backbone.encoder.embeddings.position_embeddings.weight
    first = 2 if kind in ("camembert", "mpnet", "roberta", "xlm-roberta") else 0
    assert torch.equal(backbone.position_embeddings(7), table[first : first + 7])
    assert backbone.position_embeddings(backbone.max_tokens).shape == (64, 32)


@each_headed
def test_hidden_states_of_a_middle_layer(kind: str) -> None:
    backbone = shared_backbone(kind)
    ids, attention = make_batch(8, backbone.config, padding=3)
    for layer in range(1, LAYERS):
        inputs = (
            record_inputs(backbone.layers()[layer]) if len(backbone.layers()) > layer else []
        )  # ALBERT has one layer, applied several times
        with torch.no_grad():
            last, middle = backbone.encode_with_layer(ids, attention, layer)
            states = backbone.encoder(
                input_ids=ids, attention_mask=attention.long(), output_hidden_states=True
            ).hidden_states
            assert torch.equal(last, backbone.encode(ids, attention)) and torch.equal(middle, states[layer])
        assert not inputs or torch.equal(middle, inputs[0])
        assert not torch.equal(middle, last)
    for layer in (-1, 0, LAYERS, LAYERS + 1):
        with pytest.raises(
            RecipeError, match=f"layer: must be from 1 to 2, because the encoder has 3 layers, not {layer}"
        ):
            backbone.encode_with_layer(ids, attention, layer)


@each_headed
def test_mixed_token_embeddings_give_gradients_to_the_weights_only(kind: str) -> None:
    backbone = make_backbone(kind)
    matrix = backbone.encoder.get_input_embeddings().weight
    weights = torch.rand(2, 200, requires_grad=True)
    mixed = backbone.mix_token_embeddings(weights)
    assert mixed.shape == (2, 32)
    if matrix.shape[1] == 32:
        torch.testing.assert_close(mixed, weights @ matrix)
    mixed.square().sum().backward()
    assert weights.grad is not None and weights.grad.abs().sum() > 0 and matrix.grad is None


def test_mixed_narrow_embeddings_are_projected_to_the_hidden_size() -> None:
    backbone = make_backbone("electra, narrow")
    with torch.no_grad():
        mixed = backbone.mix_token_embeddings(torch.eye(200)[:3])
        model = backbone.encoder
        torch.testing.assert_close(mixed, model.embeddings_project(model.get_input_embeddings().weight[:3]))
    del backbone.encoder.embeddings_project
    with pytest.raises(NotImplementedError, match="does not support 'electra' encoders whose embedding size"):
        backbone.mix_token_embeddings(torch.eye(200)[:3])


@each_headed
def test_transformers_loads_a_saved_backbone_with_the_same_outputs(kind: str, tmp_path: Path) -> None:
    backbone = make_backbone(kind)
    ids, attention = make_batch(10)
    backbone.mlm_logits(backbone.encode(ids, attention))
    backbone.save(tmp_path)
    full, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    bare, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert all("pooler" in name for name in report["missing_keys"])
    with torch.no_grad():
        hidden = backbone.encode(ids, attention)
        assert torch.equal(
            full.eval()(input_ids=ids, attention_mask=attention.long()).logits, backbone.mlm_logits(hidden)
        )
        assert torch.equal(bare.eval()(input_ids=ids, attention_mask=attention.long()).last_hidden_state, hidden)
    for require_mlm_head in (True, False):
        again = Backbone.load(tmp_path, require_mlm_head=require_mlm_head).eval()
        assert again.has_mlm_head and not again.mlm_head_is_new
        assert torch.equal(again.mlm_logits(again.encode(ids, attention)), backbone.mlm_logits(hidden))


@each_headed
def test_gradient_checkpointing_does_not_change_gradients(kind: str) -> None:
    found = []
    for checkpointed in (False, True):
        backbone = make_backbone(kind).train()  # with dropout, which must be the same in the recomputation
        if checkpointed:
            backbone.enable_gradient_checkpointing()
            backbone.enable_gradient_checkpointing()  # a second call has no effect
        torch.manual_seed(1)
        last, middle = backbone.encode_with_layer(*make_batch(8, backbone.config, padding=3), 1)
        loss = backbone.mlm_logits(last).logsumexp(dim=2).sum() + middle.square().sum()
        loss.backward()
        found.append((loss, {name: weight.grad for name, weight in backbone.named_parameters()}))
    (loss, gradients), (same_loss, same_gradients) = found
    assert torch.equal(loss, same_loss) and gradients.keys() == same_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same_gradients[name], gradient, msg=name)


@each_headed
def test_a_new_head_is_reported_and_tied(kind: str, tmp_path: Path) -> None:
    folder = save_encoder(kind, tmp_path / "model")
    loaded: list[Backbone] = []
    (note,) = notes_of(lambda: loaded.append(Backbone.load(folder, require_mlm_head=True)))
    assert note.startswith("model has no head for masked language modeling: a new one is initialized randomly")
    assert note.endswith(", tied to the token embeddings")
    (backbone,) = loaded
    assert backbone.has_mlm_head and backbone.mlm_head_is_new and not backbone.model.training
    assert backbone.mlm_head().decoder.weight is backbone.encoder.get_input_embeddings().weight


def test_a_discriminator_gets_a_new_head(tmp_path: Path) -> None:
    ElectraForPreTraining(CONFIGS["electra, narrow"]).save_pretrained(tmp_path)
    assert len(notes_of(lambda: Backbone.load(tmp_path, require_mlm_head=True))) == 1
    assert not Backbone.load(tmp_path, require_mlm_head=False).has_mlm_head


def test_a_new_head_is_tied_even_if_the_configuration_is_untied(tmp_path: Path) -> None:
    AutoModel.from_config(BertConfig(**SIZES, tie_word_embeddings=False)).save_pretrained(tmp_path / "bare")
    backbone = Backbone.load(tmp_path / "bare", require_mlm_head=True)
    assert backbone.mlm_head().decoder.weight is backbone.encoder.get_input_embeddings().weight
    backbone.save(tmp_path / "saved")
    again = Backbone.load(tmp_path / "saved", require_mlm_head=True)
    assert again.mlm_head().decoder.weight is again.encoder.get_input_embeddings().weight
    # An existing head with a matrix of its own keeps it.
    Backbone.from_config(BertConfig(**SIZES, tie_word_embeddings=False)).save(tmp_path / "apart")
    apart = Backbone.load(tmp_path / "apart", require_mlm_head=True)
    assert apart.mlm_head().decoder.weight is not apart.encoder.get_input_embeddings().weight
    wide = RemBertConfig(**SIZES, input_embedding_size=16, output_embedding_size=24)
    AutoModel.from_config(wide).save_pretrained(tmp_path / "wide")
    (note,) = notes_of(lambda: Backbone.load(tmp_path / "wide", require_mlm_head=True))
    assert note.endswith("a new one is initialized randomly")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("splinter", "transformers has no ForMaskedLM class for it"),
        ("xlm", "the layers of its head could not be identified"),
    ],
)
def test_a_required_head_that_cannot_be_used_is_refused(kind: str, reason: str, tmp_path: Path) -> None:
    message = f"type '{kind}' have no usable head for masked language modeling: {reason}. Fine-tune the encoder, or "
    message += "pre-train it with the objectives simcse or cropping"
    with pytest.raises(CheckpointError, match=message):
        Backbone.load(save_encoder(kind, tmp_path / "model"), require_mlm_head=True)
    with pytest.raises(CheckpointError, match=message):
        Backbone.from_config(CONFIGS[kind])


@pytest.mark.parametrize("kind", ["bert", "camembert"])
def test_a_head_is_used_only_if_its_logits_equal_those_of_the_model(kind: str) -> None:
    class Scaled(type(AutoModelForMaskedLM.from_config(CONFIGS[kind]))):  # type: ignore[misc]
        def forward(self, *arguments: Any, **named: Any) -> Any:
            output = super().forward(*arguments, **named)
            output.logits = 1.1 * output.logits
            return output

    with pytest.raises(CheckpointError, match="the layers of its head could not be identified"):
        Backbone.from_model(Scaled(CONFIGS[kind]))


@pytest.mark.parametrize("training", [False, True])
def test_the_verification_of_parts_has_no_side_effects(training: bool) -> None:
    model = BertForMaskedLM(CONFIGS["bert"]).train(training)
    before = torch.get_rng_state()
    backbone = Backbone.from_model(model)
    assert backbone.has_position_embeddings and backbone.missing_mlm_head_reason() is None
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training == training for module in model.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "electra"])
def test_parts_of_bfloat16_models_are_verified(kind: str) -> None:
    model = AutoModelForMaskedLM.from_config(CONFIGS[kind]).to(torch.bfloat16)
    assert Backbone.from_model(model).has_position_embeddings


def test_layer_settings_are_read_under_the_names_of_every_family() -> None:
    assert shared_backbone("bert").layer_config == LayerConfig(32, 48, 2, 0.1, 0.1, 1e-12, 0.1)
    assert shared_backbone("distilbert").layer_config == LayerConfig(32, 48, 2, 0.3, 0.2, 1e-12, 0.02)
    assert shared_backbone("modernbert").layer_config == LayerConfig(32, 48, 2, 0.3, 0.2, 1e-4, 0.1)
    assert shared_backbone("electra, narrow").layer_config.hidden_size == 32
    assert shared_backbone("xlm-roberta").layer_config.layer_norm_eps == 1e-5
    assert shared_backbone("deberta-v2").layer_config.layer_norm_eps == 1e-7


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("require_mlm_head", [False, True])
def test_a_pickle_that_contains_code_is_not_loaded(require_mlm_head: bool, tmp_path: Path) -> None:
    folder = save_encoder("bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Malicious(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"contains more than weights\. It was not loaded, .* as model\.safetensors"
    ):
        Backbone.load(folder, require_mlm_head=require_mlm_head)
    assert not (tmp_path / "ran").exists()
    torch.save(AutoModel.from_config(CONFIGS["bert"]).state_dict(), folder / "pytorch_model.bin")
    assert Backbone.load(folder, require_mlm_head=require_mlm_head).hidden_size == 32  # weights without code are loaded
    for damaged in (b"", b"hello" * 9):
        (folder / "pytorch_model.bin").write_bytes(damaged)
        with pytest.raises(CheckpointError):
            Backbone.load(folder, require_mlm_head=require_mlm_head)


# Inference with packed weights


def packed_layers(backbone: Backbone) -> list[nn.Module]:
    return [module for module in backbone.modules() if type(module).__name__ == "_PackedLinear"]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@each_headed
def test_packed_weights_give_the_same_hidden_states(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    backbone = make_backbone(kind)
    names, (ids, mask) = backbone.state_dict().keys(), make_batch(9, backbone.config, padding=3)
    if not has_packed_products(dtype):  # bfloat16 on a CPU without AVX-512
        assert notes_of(lambda: backbone.for_inference(dtype)) == []
        assert backbone.for_inference(dtype) is backbone
        return
    with torch.inference_mode():
        fast = backbone.for_inference(dtype)
        expected, found = backbone.encode(ids, mask)[mask], fast.encode(ids, mask)[mask]
    assert len(packed_layers(fast)) >= 4 and not packed_layers(backbone)
    assert found.dtype == dtype and expected.dtype == torch.float32
    difference = (found.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert difference < tolerance
    assert backbone.state_dict().keys() == names
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in backbone.parameters())
    assert backbone.for_inference(dtype).model is fast.model


@pytest.mark.parametrize("change", ["fused step", "step", "load", "move", "mix"])
def test_packed_weights_follow_changes_of_the_weights(change: str) -> None:
    backbone, (ids, mask) = make_backbone("bert"), make_batch(9)
    with torch.inference_mode():
        before = backbone.for_inference(torch.float32).encode(ids, mask)
    if "step" in change:
        optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.1, fused="fused" in change)
        backbone.encode(ids, mask).square().sum().backward()
        optimizer.step()
    elif change == "load":
        backbone.load_state_dict({name: value + 0.1 for name, value in backbone.state_dict().items()})
    elif change == "mix":
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.lerp_(torch.ones_like(parameter), 0.1)
    else:
        for parameter in backbone.parameters():
            parameter.data = parameter.data + 0.1
    with torch.inference_mode():
        after, expected = backbone.for_inference(torch.float32).encode(ids, mask), backbone.encode(ids, mask)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


def test_a_copied_backbone_has_packed_weights_of_its_own() -> None:
    backbone = make_backbone("bert")
    packed = packed_layers(backbone.for_inference(torch.float32))
    copied = copy.deepcopy(backbone)
    assert not {id(layer) for layer in packed} & {id(layer) for layer in packed_layers(copied)}
    assert {id(layer) for layer in packed_layers(copied.for_inference(torch.float32))} != {id(x) for x in packed}


def test_an_encoder_whose_copy_computes_something_else_is_used_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, found = make_backbone("bert"), list[Backbone]()
    # The attribute of the copy is an identity, so the activation is missing.
    monkeypatch.setattr("encloze.backbones.hf.inference._exact_gelu", lambda module: hasattr(module, "dense"))
    notes = notes_of(lambda: found.append(backbone.for_inference(torch.float32)))
    assert found == [backbone]
    assert len(notes) == 1 and notes[0].startswith("The encoder computes without packed weights, which is slower")


def test_a_model_that_was_made_in_inference_mode_is_packed() -> None:
    with torch.inference_mode():
        backbone = make_backbone("bert")
        assert packed_layers(backbone.for_inference(torch.float32))


def test_damaged_weights_are_not_reported_as_a_failed_test() -> None:
    backbone = make_backbone("bert")
    with torch.no_grad():
        next(backbone.parameters()).fill_(torch.nan)
    assert notes_of(lambda: backbone.for_inference(torch.float32)) == []
    assert backbone.for_inference(torch.float32) is backbone

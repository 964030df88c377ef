"""Encoders of every family do behind encloze's calls what they do in transformers, and what is saved is theirs."""

from __future__ import annotations

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
from encloze.backbones.base import Backbone, Shape
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
OFFSET = {**SIZES, "max_position_embeddings": 66}  # two positions go to waste
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
V3 = {**RELATIVE, "position_biased_input": False, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
MEMBERS = {
    "bert": BertConfig(**SIZES),
    "deberta-v2": DebertaV2Config(**SIZES, **V3, share_att_key=True),
    # That this head says it is tied keeps transformers 5.17 from loading it. It has no matrix but the embeddings'.
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
    "layoutlm": LayoutLMConfig(**SIZES),  # its embeddings want boxes, too
}
HEADLESS = {
    "splinter": SplinterConfig(**SIZES),
    "xlm": XLMConfig(emb_dim=32, n_layers=LAYERS, n_heads=2, n_words=200, max_position_embeddings=64),
}
HEADED = MEMBERS | OTHERS
CONFIGS = HEADED | HEADLESS
POSITIONED = ["bert", "camembert", "deberta-v2, absolute", "distilbert", "electra", "ernie", "mpnet"]
POSITIONED += ["roberta", "xlm-roberta"]
each = pytest.mark.parametrize("kind", sorted(CONFIGS))
each_headed = pytest.mark.parametrize("kind", sorted(HEADED))


def folder_of(kind: str, place: Path) -> Path:
    """A model folder of transformers with random weights, without a head, and the toy tokenizer."""
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS[kind]).save_pretrained(place)
    toys.tokenizer().save(place, 64)
    return place


def new(kind: str) -> Backbone:
    torch.manual_seed(0)
    return Backbone.new(HEADED[kind]).eval()


def some(length: int, config: Any = None, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Ids and attention, 2 x (length + padding)."""
    ids = torch.randint(5, 100, (2, length), generator=torch.Generator().manual_seed(length))
    pads = torch.full((2, padding), config.pad_token_id if padding else 0)
    real = torch.arange(length + padding).expand(2, -1) < length
    return torch.cat([ids, pads], dim=1), real


def entering(layer: nn.Module) -> list[Tensor]:
    """A list that takes what enters a layer."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.append(arguments[0] if arguments else named["hidden_states"])

    layer.register_forward_pre_hook(catch, with_kwargs=True)
    return caught


def notes_of(action: Any) -> list[str]:
    heard: list[str] = []

    class Ear(progress.Listener):
        """Keeps the notes."""

        def note(self, text: str) -> None:
            heard.append(text)

    with progress.listening(Ear()):
        action()
    return heard


def test_every_member_is_here() -> None:
    assert {kind.partition(",")[0].replace("-", "_") for kind in MEMBERS} == set(Backbone.members())
    assert all(type(new(kind)) is not Backbone for kind in MEMBERS) and all(type(new(o)) is Backbone for o in OTHERS)


@each
def test_any_encoder_gives_the_hidden_states_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / "model")
    backbone = Backbone.load(folder, need_head=False).eval()
    assert backbone.max_tokens == 64 and backbone.width == 32
    assert not backbone.has_head and backbone.lacks() == "it was loaded without its head"
    ids, attention = some(64)
    attention = attention.clone()
    attention[1, 40:] = False
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).eval()(input_ids=ids, attention_mask=attention.long())
        found = backbone.encode(ids, attention)
    torch.testing.assert_close(found[0], expected.last_hidden_state[0])
    torch.testing.assert_close(found[1, :40], expected.last_hidden_state[1, :40])


@each
def test_any_encoder_is_saved_and_loaded_the_same(kind: str, tmp_path: Path) -> None:
    encoder = BiEncoder.load(str(folder_of(kind, tmp_path / "model")), precision="float32")
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    again = BiEncoder.load(str(tmp_path / "saved"), precision="float32")
    first, second = encoder.encode_queries(toys.texts()).dense, again.encode_queries(toys.texts()).dense
    assert first is not None and second is not None and (first == second).all()


@each_headed
def test_padding_changes_nothing_for_the_tokens_before_it(kind: str) -> None:
    backbone = new(kind)
    short, padded = some(9), some(9, backbone.config, padding=5)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode(*padded)[:, :9], backbone.encode(*short), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone.embed(padded[0])[:, :9], backbone.embed(short[0]))


@each_headed
def test_the_head_predicts_as_the_model_does(kind: str) -> None:
    backbone = new(kind)
    ids, attention = some(10)
    with torch.no_grad():
        hidden, logits = (
            backbone.encode(ids, attention),
            backbone.model(input_ids=ids, attention_mask=attention.long()).logits,
        )
        torch.testing.assert_close(backbone.head()(hidden), logits)
        torch.testing.assert_close(backbone.predict(hidden), logits)
        one = backbone.head()
        torch.testing.assert_close(one.transform(hidden) @ one.decoder.weight.T + one.decoder.bias, logits)
    assert backbone.lacks() is None and backbone.has_head
    assert backbone.head().decoder.weight is backbone.encoder.get_input_embeddings().weight  # one matrix


@each_headed
def test_the_head_is_made_of_the_models_own_weights_and_of_all_of_them(kind: str) -> None:
    backbone = new(kind)
    ids, attention = some(6)
    backbone.predict(backbone.encode(ids, attention)).sum().backward()
    own = {id(weight) for weight in backbone.model.parameters()}
    assert {id(weight) for weight in backbone.head().parameters()} <= own
    assert all(weight.grad is not None for weight in backbone.head().parameters())
    encoder = {id(weight) for weight in backbone.encoder.parameters()}
    assert own - encoder <= {id(weight) for weight in backbone.head().parameters()}
    plain = AutoModelForMaskedLM.from_config(HEADED[kind]).state_dict()
    assert {f"model.{name}" for name in plain} == set(backbone.state_dict())


@each_headed
def test_embed_gives_what_enters_the_first_layer(kind: str) -> None:
    backbone = new(kind)
    ids, attention = some(8)
    caught = entering(backbone.layers()[0])
    with torch.no_grad():
        backbone.encode(ids, attention)
        torch.testing.assert_close(backbone.embed(ids), caught[0])
    assert backbone.embed(ids).shape == (2, 8, 32)


@each_headed
def test_positions_are_added_where_there_are_any(kind: str) -> None:
    backbone = new(kind)
    assert backbone.has_positions == (kind in POSITIONED)
    if not backbone.has_positions:
        with pytest.raises(NotImplementedError, match="encoders add no positions to their tokens"):
            backbone.place(torch.zeros(1, 4, 32))
        with pytest.raises(NotImplementedError, match="encoders add no positions to their tokens"):
            backbone.positions(4)
        return
    ids, _ = some(64)
    with torch.no_grad():
        tokens = backbone.encoder.get_input_embeddings()(ids)
        torch.testing.assert_close(backbone.place(tokens), backbone.embed(ids))
        # One token less its position is the same vector everywhere, once it is placed.
        same = backbone.place(tokens[:, :1] - backbone.positions(64))
        torch.testing.assert_close(same, same[:, :1].expand(-1, 64, -1), rtol=1e-4, atol=1e-5)
    table = backbone.encoder.embeddings.position_embeddings.weight
    first = 2 if kind in ("camembert", "mpnet", "roberta", "xlm-roberta") else 0
    assert torch.equal(backbone.positions(7), table[first : first + 7])
    assert backbone.positions(backbone.max_tokens).shape == (64, 32)


@each_headed
def test_the_middle_is_what_the_layers_before_it_give(kind: str) -> None:
    backbone = new(kind)
    ids, attention = some(8, backbone.config, padding=3)
    for layer in range(1, LAYERS):
        caught = entering(backbone.layers()[layer]) if len(backbone.layers()) > layer else []  # ALBERT has but one
        with torch.no_grad():
            last, middle = backbone.encode_through(ids, attention, layer)
            states = backbone.encoder(
                input_ids=ids, attention_mask=attention.long(), output_hidden_states=True
            ).hidden_states
            assert torch.equal(last, backbone.encode(ids, attention)) and torch.equal(middle, states[layer])
        assert not caught or torch.equal(middle, caught[0])
        assert not torch.equal(middle, last)
    for layer in (-1, 0, LAYERS, LAYERS + 1):
        with pytest.raises(
            RecipeError, match=f"layer: must be from 1 to 2, inside the encoder's 3 layers, not {layer}"
        ):
            backbone.encode_through(ids, attention, layer)


@each_headed
def test_a_mix_of_tokens_teaches_its_weights_and_not_the_tokens(kind: str) -> None:
    backbone = new(kind)
    matrix = backbone.encoder.get_input_embeddings().weight
    weights = torch.rand(2, 200, requires_grad=True)
    mixed = backbone.mix(weights)
    assert mixed.shape == (2, 32)
    if matrix.shape[1] == 32:
        torch.testing.assert_close(mixed, weights @ matrix)
    mixed.square().sum().backward()
    assert weights.grad is not None and weights.grad.abs().sum() > 0 and matrix.grad is None


def test_a_narrow_mix_is_widened_as_tokens_are() -> None:
    backbone = new("electra, narrow")
    with torch.no_grad():
        mixed = backbone.mix(torch.eye(200)[:3])
        model = backbone.encoder
        torch.testing.assert_close(mixed, model.embeddings_project(model.get_input_embeddings().weight[:3]))
    del backbone.encoder.embeddings_project
    with pytest.raises(NotImplementedError, match="how 'electra' encoders widen their embeddings is not known"):
        backbone.mix(torch.eye(200)[:3])


@each_headed
def test_what_is_saved_is_transformers_own(kind: str, tmp_path: Path) -> None:
    backbone = new(kind)
    ids, attention = some(10)
    backbone.predict(backbone.encode(ids, attention))
    backbone.save(tmp_path)
    full, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    bare, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert all("pooler" in name for name in report["missing_keys"])
    with torch.no_grad():
        hidden = backbone.encode(ids, attention)
        assert torch.equal(full.eval()(input_ids=ids, attention_mask=attention.long()).logits, backbone.predict(hidden))
        assert torch.equal(bare.eval()(input_ids=ids, attention_mask=attention.long()).last_hidden_state, hidden)
    for need_head in (True, False):
        again = Backbone.load(tmp_path, need_head=need_head).eval()
        assert again.has_head and not again.head_is_new
        assert torch.equal(again.predict(again.encode(ids, attention)), backbone.predict(hidden))


@each_headed
def test_gradient_checkpointing_changes_nothing(kind: str) -> None:
    found = []
    for checkpointed in (False, True):
        backbone = new(kind).train()  # with dropout, which must fall alike twice
        if checkpointed:
            backbone.checkpoint_gradients()
            backbone.checkpoint_gradients()  # once is enough
        torch.manual_seed(1)
        last, middle = backbone.encode_through(*some(8, backbone.config, padding=3), 1)
        loss = backbone.predict(last).logsumexp(dim=2).sum() + middle.square().sum()
        loss.backward()
        found.append((loss, {name: weight.grad for name, weight in backbone.named_parameters()}))
    (loss, gradients), (same_loss, same_gradients) = found
    assert torch.equal(loss, same_loss) and gradients.keys() == same_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same_gradients[name], gradient, msg=name)


@each_headed
def test_a_new_head_is_said_and_tied(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / "model")
    loaded: list[Backbone] = []
    assert notes_of(lambda: loaded.append(Backbone.load(folder, need_head=True))) == [
        "model has no head for masked language modelling: it gets a new one, tied to its embeddings"
    ]
    (backbone,) = loaded
    assert backbone.has_head and backbone.head_is_new and not backbone.model.training
    assert backbone.head().decoder.weight is backbone.encoder.get_input_embeddings().weight


def test_a_discriminator_gets_a_new_head(tmp_path: Path) -> None:
    ElectraForPreTraining(CONFIGS["electra, narrow"]).save_pretrained(tmp_path)
    assert len(notes_of(lambda: Backbone.load(tmp_path, need_head=True))) == 1
    assert not Backbone.load(tmp_path, need_head=False).has_head


def test_a_new_head_is_tied_where_the_configuration_ties_nothing(tmp_path: Path) -> None:
    AutoModel.from_config(BertConfig(**SIZES, tie_word_embeddings=False)).save_pretrained(tmp_path / "bare")
    backbone = Backbone.load(tmp_path / "bare", need_head=True)
    assert backbone.head().decoder.weight is backbone.encoder.get_input_embeddings().weight
    backbone.save(tmp_path / "saved")
    again = Backbone.load(tmp_path / "saved", need_head=True)
    assert again.head().decoder.weight is again.encoder.get_input_embeddings().weight
    # A head that was trained with a matrix of its own keeps it.
    Backbone.new(BertConfig(**SIZES, tie_word_embeddings=False)).save(tmp_path / "apart")
    apart = Backbone.load(tmp_path / "apart", need_head=True)
    assert apart.head().decoder.weight is not apart.encoder.get_input_embeddings().weight
    wide = RemBertConfig(**SIZES, input_embedding_size=16, output_embedding_size=24)
    AutoModel.from_config(wide).save_pretrained(tmp_path / "wide")
    (note,) = notes_of(lambda: Backbone.load(tmp_path / "wide", need_head=True))
    assert note.endswith("it gets a new one")


@pytest.mark.parametrize(
    ("kind", "why"),
    [("splinter", "transformers has no class for it"), ("xlm", "what predicts tokens in it cannot be told apart")],
)
def test_pre_training_that_predicts_tokens_is_refused_where_nothing_can_be_made_of_the_head(
    kind: str, why: str, tmp_path: Path
) -> None:
    said = f"type '{kind}' has no head for masked language modelling that can be used: {why}. It can be fine-tuned and "
    said += "searched with, and pre-trained with the objectives simcse and cropping"
    with pytest.raises(CheckpointError, match=said):
        Backbone.load(folder_of(kind, tmp_path / "model"), need_head=True)
    with pytest.raises(CheckpointError, match=said):
        Backbone.new(CONFIGS[kind])


@pytest.mark.parametrize("kind", ["bert", "camembert"])
def test_a_head_is_used_only_if_it_predicts_as_the_whole_model_does(kind: str) -> None:
    class Warmer(type(AutoModelForMaskedLM.from_config(CONFIGS[kind]))):  # type: ignore[misc]
        def forward(self, *arguments: Any, **named: Any) -> Any:
            made = super().forward(*arguments, **named)
            made.logits = 1.1 * made.logits
            return made

    with pytest.raises(CheckpointError, match="what predicts tokens in it cannot be told apart"):
        Backbone.around(Warmer(CONFIGS[kind]))


@pytest.mark.parametrize("training", [False, True])
def test_trying_a_model_leaves_no_trace(training: bool) -> None:
    model = BertForMaskedLM(CONFIGS["bert"]).train(training)
    before = torch.get_rng_state()
    backbone = Backbone.around(model)
    assert backbone.has_positions and backbone.lacks() is None
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training == training for module in model.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "electra"])
def test_short_numbers_are_no_reason_to_refuse(kind: str) -> None:
    model = AutoModelForMaskedLM.from_config(CONFIGS[kind]).to(torch.bfloat16)
    assert Backbone.around(model).has_positions


def test_shapes_are_read_under_every_familys_names() -> None:
    assert new("bert").shape == Shape(32, 48, 2, 0.1, 0.1, 1e-12, 0.1)
    assert new("distilbert").shape == Shape(32, 48, 2, 0.3, 0.2, 1e-12, 0.02)
    assert new("modernbert").shape == Shape(32, 48, 2, 0.3, 0.2, 1e-4, 0.1)
    assert new("electra, narrow").shape.width == 32
    assert new("xlm-roberta").shape.eps == 1e-5 and new("deberta-v2").shape.eps == 1e-7


class Mischief:
    """Runs when a pickle that holds it is opened without care."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("need_head", [False, True])
def test_a_pickle_with_code_in_it_is_not_opened(need_head: bool, tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Mischief(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"holds more than weights, .* not opened\. Ask for .* model\.safetensors"
    ):
        Backbone.load(folder, need_head=need_head)
    assert not (tmp_path / "ran").exists()
    torch.save(AutoModel.from_config(CONFIGS["bert"]).state_dict(), folder / "pytorch_model.bin")
    assert Backbone.load(folder, need_head=need_head).width == 32  # weights alone are read
    for damaged in (b"", b"hello" * 9):
        (folder / "pytorch_model.bin").write_bytes(damaged)
        with pytest.raises(CheckpointError):
            Backbone.load(folder, need_head=need_head)

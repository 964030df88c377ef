"""Encoders of every family encode as transformers does; those with a member of their own can be pre-trained, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

import toys
from encloze.backbones.base import Backbone
from encloze.errors import CheckpointError
from encloze.models.bi_encoder import BiEncoder

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "bert": BertConfig(**SIZES, vocab_size=200, max_position_embeddings=64),
    "distilbert": DistilBertConfig(
        dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=200, max_position_embeddings=64
    ),
    "electra": ElectraConfig(**SIZES, embedding_size=32, vocab_size=200, max_position_embeddings=64),
    "modernbert": ModernBertConfig(**SIZES, vocab_size=200, max_position_embeddings=64, pad_token_id=0),
    "mpnet": MPNetConfig(**SIZES, vocab_size=200, max_position_embeddings=66),
    "roberta": RobertaConfig(**SIZES, vocab_size=200, max_position_embeddings=66),
    "xlm-roberta": XLMRobertaConfig(**SIZES, vocab_size=200, max_position_embeddings=66),
}


def folder_of(kind: str, place: Path) -> Path:
    """A model folder of transformers with random weights and the toy tokenizer."""
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS[kind]).save_pretrained(place)
    toys.tokenizer().save(place, 64)
    return place


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_any_encoder_gives_the_hidden_states_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / "model")
    backbone = Backbone.load(folder, need_head=False).eval()
    assert backbone.max_tokens == 64 and backbone.width == 32
    ids = torch.randint(5, 100, (2, 64))
    attention = torch.ones(2, 64, dtype=torch.bool)
    attention[1, 40:] = False
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).eval()(input_ids=ids, attention_mask=attention.long())
        found = backbone.encode(ids, attention)
    torch.testing.assert_close(found[0], expected.last_hidden_state[0])
    torch.testing.assert_close(found[1, :40], expected.last_hidden_state[1, :40])


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_any_encoder_is_saved_and_loaded_the_same(kind: str, tmp_path: Path) -> None:
    encoder = BiEncoder.load(str(folder_of(kind, tmp_path / "model")), precision="float32")
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    again = BiEncoder.load(str(tmp_path / "saved"), precision="float32")
    first, second = encoder.encode_queries(toys.texts()).dense, again.encode_queries(toys.texts()).dense
    assert first is not None and second is not None and (first == second).all()


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_pre_training_is_refused_where_a_family_has_no_member(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / "model")
    if kind.replace("-", "_") in Backbone.members():
        backbone = Backbone.load(folder, need_head=True)
        assert backbone.has_head and backbone.head_is_new
    else:
        with pytest.raises(CheckpointError, match="not pre-trained yet; those of these types can: bert"):
            Backbone.load(folder, need_head=True)


@pytest.mark.parametrize("kind", Backbone.members())
def test_a_member_embeds_and_predicts_as_its_model_does(kind: str) -> None:
    backbone = Backbone.new(CONFIGS[kind]).eval()
    ids = torch.randint(5, 100, (2, 10))
    attention = torch.ones(2, 10, dtype=torch.bool)
    with torch.no_grad():
        hidden = backbone.encode(ids, attention)
        torch.testing.assert_close(backbone.predict(hidden), backbone.model(ids, attention.long()).logits)
        table = backbone.model.get_input_embeddings()
        torch.testing.assert_close(backbone.embed(ids), backbone.place(table(ids)))
    assert backbone.positions(7).shape == (7, 32) and len(backbone.layers()) == 2
    assert backbone.model.get_output_embeddings().weight is table.weight  # the head's matrix is the embeddings'


def test_a_new_head_is_said_and_tied(tmp_path: Path) -> None:
    from encloze import progress

    heard: list[str] = []

    class Ear(progress.Listener):
        """Keeps the notes."""

        def note(self, text: str) -> None:
            heard.append(text)

    with progress.listening(Ear()):
        Backbone.load(folder_of("bert", tmp_path / "model"), need_head=True)
    assert heard == ["model has no head for masked language modelling: it gets a new one, tied to its embeddings"]

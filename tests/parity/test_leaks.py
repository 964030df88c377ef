"""Decoders do not see the tokens that they predict: changing hidden tokens must not change the logits by one bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toys
from encloze.backbones.base import Backbone
from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch
from encloze.objectives.base import Objective
from encloze.objectives.bow import Bow
from encloze.objectives.cocondenser import CoCondenser
from encloze.objectives.condenser import Condenser
from encloze.objectives.cotmae import CotMae
from encloze.objectives.cotmae_v2 import CotMaeV2
from encloze.objectives.dupmae import DupMae
from encloze.objectives.lexmae import LexMae
from encloze.objectives.mlm import Mlm
from encloze.objectives.retromae import RetroMae
from families.test_backbones import MEMBERS

MASK, VOCABULARY, HIDDEN_SIZE = 4, 200, 32
LENGTHS = (12, 9, 10, 14)
each_backbone = pytest.mark.parametrize("kind", sorted(MEMBERS))


def test_every_backbone_family_is_tested() -> None:
    assert {kind.partition(",")[0].replace("-", "_") for kind in MEMBERS} == set(Backbone.members())


def build(kind: str, settings: Objective) -> Any:
    """The objective's module over a tiny encoder, in float64, with larger initial weights of the new layers."""
    torch.manual_seed(0)
    backbone = Backbone.from_config(copy.deepcopy(MEMBERS[kind]))
    module = settings.build_module(backbone, toys.OnlyMask(), "cls").double()  # type: ignore[arg-type]
    for name, parameter in module.named_parameters():
        if not name.startswith("backbone."):
            torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def random_batch(module: Any, epoch: int = 0) -> TokenBatch:
    """Texts with words of one and two tokens between the special tokens 2 and 3, padded as the backbone requires."""
    width, rows = max(LENGTHS), len(LENGTHS)
    attention_mask = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(5, VOCABULARY, attention_mask.shape, generator=torch.Generator().manual_seed(epoch))
    word_ids = (torch.arange(width) * 2 // 3).expand(rows, -1).clone()
    for row, length in enumerate(LENGTHS):
        ids[row, 0], ids[row, length - 1] = 2, 3
        word_ids[row, 0] = word_ids[row, length - 1] = -1
    ids = ids.where(attention_mask, module.backbone.config.pad_token_id)
    word_ids = word_ids.where(attention_mask, -1)
    return TokenBatch(ids, attention_mask, word_ids, torch.arange(rows), torch.arange(rows), 0, epoch)


def change_tokens(batch: TokenBatch, where: Tensor) -> TokenBatch:
    """The batch with other tokens where the mask (bool, batch x length) is True."""
    other = 5 + (batch.ids - 4) % (VOCABULARY - 5)
    return batch._replace(ids=other.where(where, batch.ids))


def at_position(batch: TokenBatch, position: int) -> Tensor:
    """Mask of one position in all texts that have it."""
    where = torch.zeros_like(batch.attention_mask)
    where[:, position] = batch.attention_mask[:, position]
    return where


def random_bottlenecks(module: Any, rows: int) -> tuple[Tensor, ...]:
    """Bottleneck vectors that do not depend on any text."""
    count = 2 if isinstance(module.settings, CotMaeV2) else 1
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(rows, HIDDEN_SIZE, dtype=torch.float64, generator=generator) for _ in range(count))


Logits = Callable[..., dict[str, Tensor]]


@pytest.fixture
def logits(monkeypatch: pytest.MonkeyPatch) -> Logits:
    """Function that calls a part of a module and returns its logits at all positions, by loss term."""

    def record(module: Any, part: Callable[..., Any], *arguments: Any) -> dict[str, Tensor]:
        recorded: dict[str, Tensor] = {}

        def mlm_loss(term: str, hidden: Tensor, labels: Tensor, head: nn.Module | None = None) -> dict[str, Tensor]:
            assert hidden.shape[:2] == labels.shape
            recorded[term] = (head or module.backbone.mlm_head())(hidden)
            return {}

        monkeypatch.setattr(module, "mlm_loss", mlm_loss)
        with torch.no_grad():
            part(*arguments)
        monkeypatch.undo()
        return recorded

    return record


def changed(after: Tensor, before: Tensor) -> Tensor:
    """Where logits differ in any bit: bool, batch x length."""
    assert after.shape == before.shape
    return (after != before).any(dim=2)


@each_backbone
@pytest.mark.parametrize("settings", [RetroMae(), RetroMae(query_stream="raw", num_decoder_masks=8), DupMae()])
def test_enhanced_decoding_never_sees_the_predicted_token(
    kind: str, settings: RetroMae | DupMae, logits: Logits
) -> None:
    module = build(kind, settings)
    batch = random_batch(module)
    sampled = module.sample(batch)
    visible = sampled.decoder_attention_mask
    encoder_output = module.encode(sampled)._replace(bottlenecks=random_bottlenecks(module, 4))
    before = logits(module, module.decode, sampled, encoder_output)["decoder"]
    for position in range(max(LENGTHS)):
        other = module.sample(change_tokens(batch, at_position(batch, position)))
        assert torch.equal(other.decoder_attention_mask, visible)
        is_changed = changed(logits(module, module.decode, other, encoder_output)["decoder"], before)
        # Position 0 holds the embedding, so its token is visible to no position.
        expected = visible[:, :, position] & batch.attention_mask & (position > 0)
        assert torch.equal(is_changed & batch.attention_mask, expected) and not is_changed[:, position].any()
    assert int(visible[batch.attention_mask].sum()) > 200


@each_backbone
def test_enhanced_decoding_with_all_words_masked_depends_on_the_embedding_only(kind: str, logits: Logits) -> None:
    module = build(kind, RetroMae(decoder_mask_rate=0.999))
    batch = random_batch(module)
    sampled = module.sample(batch)
    encoder_output = module.encode(sampled)._replace(bottlenecks=random_bottlenecks(module, 4))
    before = logits(module, module.decode, sampled, encoder_output)["decoder"]
    other = module.sample(change_tokens(batch, batch.word_ids >= 0))
    assert not changed(logits(module, module.decode, other, encoder_output)["decoder"], before).any()
    shifted = encoder_output._replace(bottlenecks=(encoder_output.bottlenecks[0] + 1,))
    is_changed = changed(logits(module, module.decode, other, shifted)["decoder"], before)
    assert is_changed[batch.word_ids >= 0].all()


WINDOWS = [(kind, 3, 1) for kind in sorted(MEMBERS)] + [
    ("bert", *other) for other in ((None, 1), (None, 2), (1, 1), (3, 2))
]


@pytest.mark.parametrize(("kind", "window", "num_layers"), WINDOWS)
def test_auto_regressive_decoder_sees_its_window_of_earlier_tokens(
    kind: str, window: int | None, num_layers: int, logits: Logits
) -> None:
    """Position t sees the embedding and tokens t - window + 1 to t; each further layer extends the window."""
    module = build(kind, CotMaeV2(encode_contexts=False, window=window, decoder_layers=num_layers))
    batch, lengths = random_batch(module), LENGTHS[2:]
    sampled = module.sample(batch)
    encoder_output = module.encode(sampled)._replace(bottlenecks=random_bottlenecks(module, 2))
    before = logits(module, module.decode, sampled, encoder_output)
    reach = max(lengths) if window is None else num_layers * (window - 1)
    for position in range(max(lengths)):
        other = module.sample(change_tokens(batch, at_position(batch, position)))
        after = logits(module, module.decode, other, encoder_output)
        for term in ("ar_dense", "ar_sparse"):
            is_changed = changed(after[term], before[term])
            for row, length in enumerate(lengths):
                expected = [0 < position < length and 0 <= t - position <= reach for t in range(length)]
                assert is_changed[row, :length].tolist() == expected
    for number, view in enumerate(("dense", "sparse")):
        bottlenecks = [vectors + (at == number) for at, vectors in enumerate(encoder_output.bottlenecks)]
        after = logits(module, module.decode, sampled, encoder_output._replace(bottlenecks=bottlenecks))
        for term in before:  # each view reaches all positions of its own decoders, and no others
            is_changed = changed(after[term], before[term])[batch.attention_mask[2:]]
            assert (is_changed == term.endswith(view)).all()


def mask_token_positions(masked: Any) -> Tensor:
    """Positions of the mask token: bool, batch x length."""
    where: Tensor = (masked.labels != IGNORE_INDEX) & (masked.ids == MASK)
    assert where.any()
    return where


def assert_only_labels_differ(after: Any, before: Any, where: Tensor) -> None:
    assert torch.equal(after.ids, before.ids)
    assert torch.equal(after.labels != before.labels, where)


@each_backbone
def test_mlm_does_not_see_masked_tokens(kind: str, logits: Logits) -> None:
    assert_encoder_does_not_see_masked_tokens(build(kind, Mlm(encoder_mask_rate=0.5)), logits)


@pytest.mark.parametrize(
    "settings",
    [
        Bow(),
        CoCondenser(),
        Condenser(),
        CotMae(),
        CotMaeV2(),
        DupMae(),
        DupMae(preset="paper"),
        LexMae(),
        Mlm(whole_word_masking=False),
        RetroMae(),
    ],
    ids=lambda s: s.name,
)
def test_no_objective_shows_masked_tokens_to_the_encoder(settings: Objective, logits: Logits) -> None:
    assert_encoder_does_not_see_masked_tokens(build("bert", settings), logits)


def assert_encoder_does_not_see_masked_tokens(module: Any, logits: Logits) -> None:
    batch = random_batch(module, epoch=2)
    sampled = module.sample(batch)
    where = mask_token_positions(sampled.encoder)
    other = module.sample(change_tokens(batch, where))
    assert_only_labels_differ(other.encoder, sampled.encoder, where)
    before, after = (logits(module, module.encode, each)["encoder"] for each in (sampled, other))
    assert torch.equal(after, before)
    first, second = module.encode(sampled), module.encode(other)
    assert torch.equal(first.hidden, second.hidden)
    assert all(torch.equal(one, two) for one, two in zip(first.bottlenecks, second.bottlenecks, strict=True))
    assert float(first.sums["encoder"].detach()) != float(second.sums["encoder"].detach())  # the labels differ


PAIR_OBJECTIVES: list[Objective] = [
    CotMae(),
    CotMae(encode_contexts=False),
    CotMaeV2(),
    CotMaeV2(encode_contexts=False),
]


@pytest.mark.parametrize("settings", PAIR_OBJECTIVES, ids=lambda s: s.name)
def test_encoder_does_not_see_the_context(settings: CotMae | CotMaeV2) -> None:
    module = build("bert", settings)
    batch = random_batch(module)
    is_context = (torch.arange(4) >= 2)[:, None].expand_as(batch.word_ids)
    other = change_tokens(batch, is_context & (batch.word_ids >= 0))
    before, after = (module.encode(module.sample(texts)) for texts in (batch, other))
    assert torch.equal(after.hidden[:2], before.hidden[:2])
    for one, two in zip(after.bottlenecks, before.bottlenecks, strict=True):
        assert torch.equal(one[:2], two[:2])
        assert not (one[2:] == two[2:]).all(dim=1).any()


@pytest.mark.parametrize("settings", PAIR_OBJECTIVES, ids=lambda s: s.name)
def test_decoder_depends_on_the_encoded_text_only_through_the_bottleneck(
    settings: CotMae | CotMaeV2, logits: Logits
) -> None:
    module = build("bert", settings)
    batch = random_batch(module)
    other = change_tokens(batch, (torch.arange(4) < 2)[:, None] & (batch.word_ids >= 0))
    encoder_output = module.encode(module.sample(batch))
    bottlenecks = random_bottlenecks(module, len(encoder_output.hidden))
    encoder_output = encoder_output._replace(bottlenecks=bottlenecks)
    before, after = (logits(module, module.decode, module.sample(texts), encoder_output) for texts in (batch, other))
    for term, term_logits in before.items():
        is_changed = changed(after[term], term_logits)
        assert not is_changed[:2].any()
        # If contexts are encoded as well, the changed texts are the contexts of rows 2 and 3.
        assert is_changed[2:].any() == (settings.encode_contexts is None)


@each_backbone
@pytest.mark.parametrize("settings", [CotMae(), CotMaeV2(), LexMae(), RetroMae(decoding="basic")], ids=lambda s: s.name)
def test_decoder_of_masked_tokens_does_not_see_them(kind: str, settings: Objective, logits: Logits) -> None:
    module = build(kind, settings)
    batch = random_batch(module, epoch=1)
    sampled = module.sample(batch)
    where = mask_token_positions(sampled.decoder)
    is_paired = isinstance(settings, (CotMae, CotMaeV2))
    other = module.sample(change_tokens(batch, where.roll(2, 0) if is_paired else where))
    assert_only_labels_differ(other.decoder, sampled.decoder, where)
    encoder_output = module.encode(sampled)._replace(bottlenecks=random_bottlenecks(module, 4))
    before, after = (logits(module, module.decode, each, encoder_output) for each in (sampled, other))
    for term in ("ae_dense", "ae_sparse") if isinstance(settings, CotMaeV2) else ("decoder",):
        assert not changed(after[term], before[term]).any()


@pytest.mark.parametrize("settings", [CotMae(), CotMaeV2()], ids=lambda s: s.name)
def test_masked_tokens_of_a_context_do_not_leak_through_the_bottleneck(settings: Objective, logits: Logits) -> None:
    """With the real bottlenecks: no embedding depends on the text that is reconstructed from it."""
    module = build("bert", settings)
    batch = random_batch(module, epoch=1)
    sampled = module.sample(batch)
    for row in range(4):
        where = torch.zeros_like(batch.attention_mask)
        where[row] = mask_token_positions(sampled.decoder)[row]
        other = module.sample(change_tokens(batch, where.roll(2, 0)))
        before, after = (logits(module, module, each) for each in (sampled, other))
        for term in before.keys() - {"encoder", "ar_dense", "ar_sparse"}:
            assert not changed(after[term], before[term])[row].any()

"""No decoder is shown what it has to guess: tokens are changed, and what must not know of it must not move a bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from encloze.backbones.base import Backbone
from encloze.models.layers.masking import IGNORED, TokenBatch
from encloze.objectives import lexmae
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

MASK, VOCABULARY, WIDTH = 4, 200, 32
LENGTHS = (12, 9, 10, 14)
each_backbone = pytest.mark.parametrize("kind", sorted(MEMBERS))


def test_every_member_is_looked_at() -> None:
    assert {kind.partition(",")[0].replace("-", "_") for kind in MEMBERS} == set(Backbone.members())


def module(kind: str, settings: Objective) -> Any:
    """The objective's module over a tiny encoder, in float64, with larger first weights."""
    torch.manual_seed(0)
    backbone = Backbone.new(copy.deepcopy(MEMBERS[kind]))
    made = settings.module(backbone, toys.OnlyMask(), "cls").double()  # type: ignore[arg-type]
    for name, parameter in made.named_parameters():
        if not name.startswith("backbone."):
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def batch(made: Any, lengths: tuple[int, ...] = LENGTHS, epoch: int = 0) -> TokenBatch:
    """Texts of words of one and two tokens between the special tokens 2 and 3, and the backbone's padding."""
    width = max(lengths)
    attention = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, VOCABULARY, attention.shape, generator=torch.Generator().manual_seed(epoch))
    words = (torch.arange(width) * 2 // 3).expand(len(lengths), -1).clone()
    for row, length in enumerate(lengths):
        ids[row, 0], ids[row, length - 1] = 2, 3
        words[row, 0] = words[row, length - 1] = -1
    ids = ids.where(attention, made.backbone.config.pad_token_id)
    return TokenBatch(
        ids, attention, words.where(attention, -1), torch.arange(len(lengths)), torch.arange(len(lengths)), 0, epoch
    )


def changed(given: TokenBatch, places: Tensor) -> TokenBatch:
    """With other words at some places: bool, batch x length."""
    other = 5 + (given.ids - 4) % (VOCABULARY - 5)
    return given._replace(ids=other.where(places, given.ids))


def everywhere(given: TokenBatch, place: int) -> Tensor:
    """One place of every text that is so long."""
    places = torch.zeros_like(given.attention)
    places[:, place] = given.attention[:, place]
    return places


def views(made: Any, rows: int) -> tuple[Tensor, ...]:
    """Bottlenecks that know of nothing."""
    count = 2 if isinstance(made.settings, CotMaeV2) else 1
    draw = torch.Generator().manual_seed(5)
    return tuple(torch.randn(rows, WIDTH, dtype=torch.float64, generator=draw) for _ in range(count))


@pytest.fixture
def logits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Tensor]]:
    """What a module says at every place, by term: it is asked to guess all, where it would guess the labelled."""

    def of(made: Any, half: Callable[..., Any], *arguments: Any) -> dict[str, Tensor]:
        caught: dict[str, Tensor] = {}

        def guess(term: str, hidden: Tensor, labels: Tensor) -> dict[str, Tensor]:
            assert hidden.shape[:2] == labels.shape
            caught[term] = made.backbone.predict(hidden)
            return {}

        def own_head(hidden: Tensor, _: Tensor, head: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
            caught["decoder"] = head(hidden)
            return hidden.sum(), hidden.sum()

        monkeypatch.setattr(made, "guess", guess)
        monkeypatch.setattr(lexmae, "labelled", lambda hidden, labels: (hidden, labels))
        monkeypatch.setattr(lexmae, "summed_cross_entropy", own_head)
        with torch.no_grad():
            half(*arguments)
        monkeypatch.undo()
        return caught

    return of


def moved(after: Tensor, before: Tensor) -> Tensor:
    """Where logits are not the same to the last bit: bool, batch x length."""
    assert after.shape == before.shape
    return (after != before).any(dim=2)


Logits = Callable[..., dict[str, Tensor]]


@each_backbone
@pytest.mark.parametrize("settings", [RetroMae(), RetroMae(query_stream="raw", decoder_patterns=8), DupMae()])
def test_an_enhanced_decoder_never_sees_the_token_that_it_guesses(
    kind: str, settings: RetroMae | DupMae, logits: Logits
) -> None:
    made = module(kind, settings)
    given, at = batch(made), made.draw(batch(made)).visible
    reading = made.read(made.draw(given))._replace(views=views(made, 4))
    before = logits(made, made.rebuild, made.draw(given), reading)["decoder"]
    for place in range(max(LENGTHS)):
        other = made.draw(changed(given, everywhere(given, place)))
        assert torch.equal(other.visible, at)
        far = moved(logits(made, made.rebuild, other, reading)["decoder"], before)
        # The first token gave its place to the embedding, the padding has no other.
        seen = at[:, :, place] & given.attention & (place > 0)
        assert torch.equal(far & given.attention, seen) and not far[:, place].any()
    assert int(at[given.attention].sum()) > 200  # many see each


@each_backbone
def test_an_enhanced_decoder_that_sees_no_words_hears_of_none(kind: str, logits: Logits) -> None:
    made = module(kind, RetroMae(decoder_mask_rate=0.999))
    given = batch(made)
    reading = made.read(made.draw(given))._replace(views=views(made, 4))
    before = logits(made, made.rebuild, made.draw(given), reading)["decoder"]
    other = made.draw(changed(given, given.words >= 0))
    assert not moved(logits(made, made.rebuild, other, reading)["decoder"], before).any()
    more = reading._replace(views=(reading.views[0] + 1,))
    assert moved(logits(made, made.rebuild, other, more)["decoder"], before)[given.words >= 0].all()


WINDOWS = [(kind, 3, 1) for kind in sorted(MEMBERS)] + [
    ("bert", *other) for other in ((None, 1), (None, 2), (1, 1), (3, 2))
]


@pytest.mark.parametrize(("kind", "window", "layers"), WINDOWS)
def test_an_auto_regressive_decoder_sees_its_window_of_the_past(
    kind: str, window: int | None, layers: int, logits: Logits
) -> None:
    """Place t sees the embedding and the tokens t - window + 1 to t; each further layer as many more."""
    made = module(kind, CotMaeV2(encode_contexts=False, window=window, decoder_layers=layers))
    given, lengths = batch(made), LENGTHS[2:]
    reading = made.read(made.draw(given))._replace(views=views(made, 2))
    before = logits(made, made.rebuild, made.draw(given), reading)
    reach = max(lengths) if window is None else layers * (window - 1)
    for place in range(max(lengths)):
        after = logits(made, made.rebuild, made.draw(changed(given, everywhere(given, place))), reading)
        for term in ("ar_dense", "ar_sparse"):
            far = moved(after[term], before[term])
            for row, length in enumerate(lengths):
                reached = [0 < place < length and 0 <= t - place <= reach for t in range(length)]
                assert far[row, :length].tolist() == reached
    for number, term in enumerate(("ar_dense", "ar_sparse")):
        others = [view + (at == number) for at, view in enumerate(reading.views)]
        after = logits(made, made.rebuild, made.draw(given), reading._replace(views=others))
        for name in before:  # each view is told to its own decoders, at all places
            assert (moved(after[name], before[name])[given.attention[2:]] == name.endswith(term[3:])).all()


def holes(masked: Any) -> Tensor:
    """Places that stand for the mask token: bool, batch x length."""
    found: Tensor = (masked.labels != IGNORED) & (masked.ids == MASK)
    assert found.any()
    return found


def assert_only_labels_differ(after: Any, before: Any, places: Tensor) -> None:
    assert torch.equal(after.ids, before.ids)
    assert torch.equal(after.labels != before.labels, places)


@each_backbone
def test_an_encoder_does_not_see_what_stood_behind_the_mask(kind: str, logits: Logits) -> None:
    the_encoder_sees_no_masked_words(module(kind, Mlm(encoder_mask_rate=0.5)), logits)


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
        Mlm(whole_words=False),
        RetroMae(),
    ],
    ids=lambda s: s.name,
)
def test_no_objective_shows_its_encoder_what_stood_behind_the_mask(settings: Objective, logits: Logits) -> None:
    the_encoder_sees_no_masked_words(module("bert", settings), logits)


def the_encoder_sees_no_masked_words(made: Any, logits: Logits) -> None:
    given = batch(made, epoch=2)
    drawn = made.draw(given)
    places = holes(drawn.encoder)
    other = made.draw(changed(given, places))
    assert_only_labels_differ(other.encoder, drawn.encoder, places)
    before, after = (logits(made, made.read, which)["encoder"] for which in (drawn, other))
    assert torch.equal(after, before)
    first, second = made.read(drawn), made.read(other)
    assert torch.equal(first.hidden, second.hidden)
    assert all(torch.equal(one, other) for one, other in zip(first.views, second.views, strict=True))
    assert float(first.sums["encoder"].detach()) != float(second.sums["encoder"].detach())  # but it is asked for it


PAIRED: list[Objective] = [CotMae(), CotMae(encode_contexts=False), CotMaeV2(), CotMaeV2(encode_contexts=False)]


@pytest.mark.parametrize("settings", PAIRED, ids=lambda s: s.name)
def test_an_encoder_does_not_see_the_context(settings: CotMae | CotMaeV2) -> None:
    made = module("bert", settings)
    given = batch(made)
    is_context = (torch.arange(4) >= 2)[:, None].expand_as(given.words)
    other = changed(given, is_context & (given.words >= 0))
    before, after = (made.read(made.draw(texts)) for texts in (given, other))
    assert torch.equal(after.hidden[:2], before.hidden[:2])
    for one_view, other_view in zip(after.views, before.views, strict=True):
        assert torch.equal(one_view[:2], other_view[:2])
        assert not (one_view[2:] == other_view[2:]).all(dim=1).any()


@pytest.mark.parametrize("settings", PAIRED, ids=lambda s: s.name)
def test_a_decoder_knows_of_the_anchor_from_the_bottleneck_alone(settings: CotMae | CotMaeV2, logits: Logits) -> None:
    made = module("bert", settings)
    given = batch(made)
    other = changed(given, (torch.arange(4) < 2)[:, None] & (given.words >= 0))
    reading = made.read(made.draw(given))
    reading = reading._replace(views=views(made, len(reading.hidden)))
    before, after = (logits(made, made.rebuild, made.draw(texts), reading) for texts in (given, other))
    for term, said in before.items():
        far = moved(after[term], said)
        assert not far[:2].any()
        assert far[2:].any() == (settings.encode_contexts is None)  # where the anchor is a context in its turn


@each_backbone
@pytest.mark.parametrize("settings", [CotMae(), CotMaeV2(), LexMae(), RetroMae(decoding="basic")], ids=lambda s: s.name)
def test_a_decoder_of_holes_does_not_see_what_it_fills_in(kind: str, settings: Objective, logits: Logits) -> None:
    made = module(kind, settings)
    given = batch(made, epoch=1)
    drawn = made.draw(given)
    places = holes(drawn.decoder)
    paired = isinstance(settings, (CotMae, CotMaeV2))
    other = made.draw(changed(given, places.roll(2, 0) if paired else places))
    assert_only_labels_differ(other.decoder, drawn.decoder, places)
    reading = made.read(drawn)
    reading = reading._replace(views=views(made, 4))
    before, after = (logits(made, made.rebuild, which, reading) for which in (drawn, other))
    for term in ("ae_dense", "ae_sparse") if isinstance(settings, CotMaeV2) else ("decoder",):
        assert not moved(after[term], before[term]).any()


@pytest.mark.parametrize("settings", [CotMae(), CotMaeV2()], ids=lambda s: s.name)
def test_what_a_pair_fills_in_is_not_seen_on_any_way(settings: Objective, logits: Logits) -> None:
    """With the bottleneck as it comes: no row's embedding knows of the text that is rebuilt from it."""
    made = module("bert", settings)
    given = batch(made, epoch=1)
    drawn = made.draw(given)
    for row in range(4):
        rebuilt = torch.zeros_like(given.attention)
        rebuilt[row] = holes(drawn.decoder)[row]
        other = made.draw(changed(given, rebuilt.roll(2, 0)))
        before, after = (logits(made, made, which) for which in (drawn, other))
        for term in before.keys() - {"encoder", "ar_dense", "ar_sparse"}:
            assert not moved(after[term], before[term])[row].any()

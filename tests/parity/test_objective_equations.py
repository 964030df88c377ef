"""Every other objective against a literal float64 re-implementation of its equations, one vector at a time."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from encloze.errors import RecipeError
from encloze.models.layers.masking import IGNORED, TokenBatch
from encloze.objectives.base import Objective, PretrainingModule
from encloze.objectives.bow import Bow
from encloze.objectives.cocondenser import CoCondenser
from encloze.objectives.condenser import Condenser
from encloze.objectives.cotmae import CotMae
from encloze.objectives.cotmae_v2 import CotMaeV2
from encloze.objectives.cropping import Cropping
from encloze.objectives.dupmae import DupMae
from encloze.objectives.lexmae import LexMae
from encloze.objectives.mlm import Mlm
from encloze.objectives.simcse import SimCse
from encloze.text.contexts.base import Context

VOCABULARY, WIDTH, HEADS, MASK = 50, 32, 2, 4


def batch(lengths: tuple[int, ...] = (9, 6, 7, 11), epoch: int = 1) -> TokenBatch:
    """Texts of the given lengths: first token 1, last 2, padding 0; one token twice; every third goes on a word.

    The last one has a special token inside.
    """
    draw = torch.Generator().manual_seed(0)
    width = max(lengths)
    ids, words = torch.zeros(len(lengths), width, dtype=torch.int64), torch.full((len(lengths), width), -1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, VOCABULARY, (length,), generator=draw)
        ids[row, 3] = ids[row, 1]
        ids[row, 0], ids[row, length - 1] = 1, 2
        starts = torch.tensor([place % 3 != 2 for place in range(length - 2)])
        words[row, 1 : length - 1] = starts.cumsum(0) - 1
    ids[-1, 5], words[-1, 5] = 3, -1
    attention = torch.arange(width) < torch.tensor(lengths)[:, None]
    return TokenBatch(ids, attention, words, torch.arange(len(lengths)) + 7, torch.arange(len(lengths)), 3, epoch)


def module(settings: Objective, pooling: str = "cls", dropout: float = 0.0) -> Any:
    """The objective's module over a tiny BERT, in float64; nothing is 0 or 1 that would hide a mistake."""
    backbone = toys.backbone(VOCABULARY, layers=3, dropout=dropout)
    torch.manual_seed(1)
    made = settings.module(backbone, toys.OnlyMask(), pooling).double()  # type: ignore[arg-type]
    norms = [part for part in made.modules() if isinstance(part, torch.nn.LayerNorm)]
    ones = {id(part.weight) for part in norms}
    for name, parameter in made.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(id(parameter) in ones), std=0.3)
        elif not name.startswith("backbone."):
            torch.nn.init.normal_(parameter, std=0.3)
    return made.train()


def norm(vector: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = vector.mean()
    return (vector - mean) / torch.sqrt(((vector - mean) ** 2).mean() + 1e-12) * weight + bias


def gelu(vector: Tensor) -> Tensor:
    return vector * (1 + torch.erf(vector / math.sqrt(2))) / 2


def surprise(logits: Tensor, token: int) -> Tensor:
    return torch.log(torch.exp(logits).sum()) - logits[token]


class Equations:
    """A module's raw weights with a batch and what was drawn for it; sums, right guesses and counts by term."""

    def __init__(self, made: PretrainingModule, given: TokenBatch, drawn: Any) -> None:
        self.made, self.given, self.drawn = made, given, drawn
        self.weights = dict(made.named_parameters(remove_duplicate=False))
        self.table = self.weights["backbone.model.bert.embeddings.word_embeddings.weight"]
        self.lengths = [int(row.sum()) for row in given.attention]
        self.rows = range(len(given.ids))
        self.sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        self.right: dict[str, int] = defaultdict(int)
        self.counts: dict[str, int] = defaultdict(int)

    def guess(self, term: str, logits: Tensor, token: int) -> None:
        self.sums[term] = self.sums[term] + surprise(logits, token)
        self.right[f"{term}_right"] += int(logits.argmax()) == token
        self.counts[term] += 1

    def affine(self, name: str, vector: Tensor) -> Tensor:
        return self.weights[f"{name}.weight"] @ vector + self.weights[f"{name}.bias"]

    def normed(self, name: str, vector: Tensor) -> Tensor:
        return norm(vector, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def placed(self, vector: Tensor, place: int) -> Tensor:
        name = "backbone.model.bert.embeddings"
        position = self.weights[f"{name}.position_embeddings.weight"][place]
        kind = self.weights[f"{name}.token_type_embeddings.weight"][0]
        return self.normed(f"{name}.LayerNorm", vector + position + kind)

    def token(self, token: int, place: int) -> Tensor:
        return self.placed(self.table[token], place)

    def head(self, vector: Tensor) -> Tensor:
        name = "backbone.model.cls.predictions"
        inner = gelu(self.affine(f"{name}.transform.dense", vector))
        return self.table @ self.normed(f"{name}.transform.LayerNorm", inner) + self.weights[f"{name}.bias"]

    def layer(self, name: str, queries: list[Tensor], context: list[Tensor], seen: list[list[int]]) -> list[Tensor]:
        """One BERT layer, whose queries may be other vectors than its context; seen[i] is what place i sees."""
        keys = [self.affine(f"{name}.attention.self.key", vector) for vector in context]
        values = [self.affine(f"{name}.attention.self.value", vector) for vector in context]
        made = []
        for query, own in zip(queries, seen, strict=True):
            asked, parts = self.affine(f"{name}.attention.self.query", query), []
            for head in range(HEADS):
                part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
                scores = torch.stack([asked[part] @ keys[j][part] / math.sqrt(WIDTH / HEADS) for j in own])
                shares = torch.exp(scores) / torch.exp(scores).sum()
                found = torch.zeros(WIDTH // HEADS, dtype=torch.float64)
                for share, j in zip(shares, own, strict=True):
                    found = found + share * values[j][part]
                parts.append(found)
            attended = self.affine(f"{name}.attention.output.dense", torch.cat(parts))
            joined = self.normed(f"{name}.attention.output.LayerNorm", attended + query)
            inner = gelu(self.affine(f"{name}.intermediate.dense", joined))
            made.append(self.normed(f"{name}.output.LayerNorm", self.affine(f"{name}.output.dense", inner) + joined))
        return made

    def stack(self, name: str, layers: int, vectors: list[Tensor], seen: list[list[int]] | None = None) -> list[Tensor]:
        """Layers one upon the other; all see all unless said otherwise."""
        seen = seen or [list(range(len(vectors)))] * len(vectors)
        for number in range(layers):
            vectors = self.layer(f"{name}.layers.{number}", vectors, vectors, seen)
        return vectors

    def states(self, row: int) -> tuple[Tensor, ...]:
        """Transformers' own hidden states of a text with holes, alone and without padding."""
        ids = self.drawn.encoder.ids[row : row + 1, : self.lengths[row]]
        passed = self.made.backbone.model.bert(input_ids=ids, output_hidden_states=True)
        return tuple(state[0] for state in passed.hidden_states)

    def masked(self, row: int) -> Tensor:
        """The last hidden states; counts the term ``encoder``."""
        hidden = self.states(row)[-1]
        for place in self.holes(row, row, self.drawn.encoder):
            self.guess("encoder", self.head(hidden[place]), int(self.given.ids[row, place]))
        return hidden

    def holes(self, row: int, of: int, masked: Any) -> list[int]:
        """Where the text ``of`` is to be guessed in a row of masked texts; elsewhere it stands as it is."""
        length, ids = self.lengths[of], self.given.ids[of]
        holes = [place for place in range(length) if int(masked.labels[row, place]) != IGNORED]
        assert holes and all(int(self.given.words[of, place]) >= 0 for place in holes)
        assert [int(masked.labels[row, place]) for place in holes] == ids[holes].tolist()
        assert all(int(masked.ids[row, place]) == int(ids[place]) for place in range(length) if place not in holes)
        return holes

    def embedding(self, hidden: Tensor, pooling: str) -> Tensor:
        return {"cls": hidden[0], "mean": hidden.sum(dim=0) / len(hidden), "max": hidden.max(dim=0).values}[pooling]

    def text(self, row: int) -> list[int]:
        """The places of a text's words."""
        return [place for place in range(self.lengths[row]) if int(self.given.words[row, place]) >= 0]

    def enhanced(self, row: int, embedding: Tensor) -> None:
        """RetroMAE's decoder, each place with its own view; every token of the text is guessed."""
        length, ids, visible = self.lengths[row], self.given.ids[row].tolist(), self.drawn.visible[row]
        queries = [self.placed(embedding, place) for place in range(length)]
        context = [embedding, *(self.token(ids[place], place) for place in range(1, length))]
        seen = [[j for j in range(length) if visible[place, j]] for place in range(length)]
        assert all(place not in own for place, own in enumerate(seen))
        rebuilt = self.layer("decoder.layers.0", queries, context, seen)
        for place in self.text(row):
            self.guess("decoder", self.head(rebuilt[place]), ids[place])

    def decoder_input(self, embedding: Tensor, ids: list[int]) -> list[Tensor]:
        return [embedding, *(self.token(token, place) for place, token in enumerate(ids) if place)]

    def bag(self, row: int, logits: Tensor, weight: float) -> None:
        for token in {int(self.given.ids[row, place]) for place in self.text(row)}:
            self.sums["bag"] = self.sums["bag"] + weight * surprise(logits, token)
        self.counts["bag"] += 1

    def contrast(self, vectors: list[Tensor], temperature: float) -> None:
        """Each of the vectors should find its partner, half a batch away, among all others of another source."""
        half = len(vectors) // 2
        source = self.given.sources[:half].tolist() * 2
        for row, vector in enumerate(vectors):
            partner = (row + half) % len(vectors)
            compared = [j for j in range(len(vectors)) if j == partner or source[j] != source[row]]
            others = {j: vector @ vectors[j] / temperature for j in compared}
            total = torch.stack([torch.exp(score) for score in others.values()]).sum()
            self.sums["contrast"] = self.sums["contrast"] - torch.log(torch.exp(others[partner]) / total)
            self.right["contrast_right"] += max(others, key=lambda j: float(others[j].detach())) == partner
            self.counts["contrast"] += 1


def dupmae(equations: Equations, settings: DupMae) -> None:
    for row in equations.rows:
        hidden = equations.masked(row)
        equations.enhanced(row, equations.embedding(hidden, settings.bottleneck or "cls"))
        text = equations.text(row)
        if settings.preset == "paper":
            unmasked = [place for place in text if int(equations.drawn.encoder.ids[row, place]) != MASK]
            unmasked = unmasked or text  # a text that is masked whole
            logits = torch.stack([equations.weights["projection.weight"] @ hidden[place] for place in unmasked])
            weight = 1.0
        else:
            logits = torch.stack([equations.head(hidden[place]) for place in range(1, len(hidden))])
            weight = 1 / len(text)
        equations.bag(row, logits.max(dim=0).values, weight)


def bow(equations: Equations, settings: Bow) -> None:
    for row in equations.rows:
        embedding = equations.embedding(equations.masked(row), settings.bottleneck or "cls")
        distinct = {int(equations.given.ids[row, place]) for place in equations.text(row)}
        equations.bag(row, equations.head(embedding), 1 / len(distinct))


def partners(equations: Equations, settings: CotMae | CotMaeV2) -> list[tuple[int, int]]:
    """The rows that are encoded, with those that are rebuilt from them."""
    half = len(equations.rows) // 2
    forth = [(row, row + half) for row in range(half)]
    return forth if settings.encode_contexts is False else forth + [(other, row) for row, other in forth]


def cotmae(equations: Equations, settings: CotMae) -> None:
    for row, (text, context) in enumerate(partners(equations, settings)):
        assert row == text
        embedding = equations.embedding(equations.masked(text), settings.bottleneck or "cls")
        holes, length = equations.holes(row, context, equations.drawn.decoder), equations.lengths[context]
        ids = equations.drawn.decoder.ids[row, :length].tolist()
        rebuilt = equations.stack("decoder", settings.decoder_layers, equations.decoder_input(embedding, ids))
        for place in holes:
            equations.guess("decoder", equations.head(rebuilt[place]), int(equations.given.ids[context, place]))


def cotmae_v2(equations: Equations, settings: CotMaeV2) -> None:
    for row, (text, context) in enumerate(partners(equations, settings)):
        hidden = equations.masked(text)
        dense = equations.embedding(hidden, settings.bottleneck or "cls")
        holes, length = equations.holes(row, context, equations.drawn.decoder), equations.lengths[context]
        masked, whole = (ids[row, :length] for ids in (equations.drawn.decoder.ids, equations.given.ids.roll(-2, 0)))
        assert torch.equal(whole, equations.given.ids[context, :length])
        last = settings.window or length
        seen = [[j for j in range(t + 1) if j == 0 or j > t - last] for t in range(length)]
        for view, vector in (("dense", dense), ("sparse", sparse_view(equations, settings, text, hidden))):
            own = "sparse_" if view == "sparse" and not settings.shared_decoders else ""
            enter = equations.decoder_input(vector, masked.tolist())
            filled = equations.stack(f"{own}auto_encoding", settings.decoder_layers, enter)
            for place in holes:
                token = int(equations.given.ids[context, place])
                equations.guess(f"ae_{view}", equations.head(filled[place]), token)
            enter = equations.decoder_input(vector, whole.tolist())
            told = equations.stack(f"{own}auto_regressive", settings.decoder_layers, enter, seen)
            for place in range(length - 1):  # the first tells the first word, the last but one the last special token
                equations.guess(f"ar_{view}", equations.head(told[place]), int(whole[place + 1]))


def sparse_view(equations: Equations, settings: CotMaeV2, row: int, hidden: Tensor) -> Tensor:
    places = range(len(hidden)) if settings.special_places else equations.text(row)
    highest = torch.stack([equations.head(hidden[place]) for place in places]).max(dim=0).values
    positive = torch.where(highest > 0, highest, torch.zeros_like(highest))
    weights = {"raw": highest, "relu": positive, "log1p_relu": torch.log(1 + positive)}[settings.activation]
    if settings.projection == "distribution":
        raised = torch.exp(highest)
        weights = raised / raised.sum()
    if settings.top_k and settings.top_k < VOCABULARY:
        least = sorted(weights.tolist(), reverse=True)[settings.top_k - 1]
        weights = torch.where(weights >= least, weights, torch.zeros_like(weights))
        assert int((weights != 0).sum()) == settings.top_k
    vector = torch.zeros(WIDTH, dtype=torch.float64)
    for token, weight in enumerate(weights):
        if settings.projection == "linear":
            vector = vector + weight * equations.weights["projection.weight"][:, token]
        else:
            vector = vector + weight * equations.table[token].detach()
    return equations.normed("norm", vector)


def lexmae(equations: Equations, settings: LexMae) -> None:
    for row in equations.rows:
        hidden, drawn = equations.masked(row), equations.drawn
        highest = torch.stack([equations.head(hidden[place]) for place in equations.text(row)]).max(dim=0).values
        if settings.distribution == "softmax":
            raised = torch.exp(highest)
        else:
            raised = torch.log(1 + torch.where(highest > 0, highest, torch.zeros_like(highest)))
        mixture = torch.zeros(WIDTH, dtype=torch.float64)
        for token, share in enumerate(raised / raised.sum()):
            mixture = mixture + share * equations.table[token].detach()
        holes, length = equations.holes(row, row, drawn.decoder), equations.lengths[row]
        assert set(holes) >= set(equations.holes(row, row, drawn.encoder))
        enter = equations.decoder_input(mixture, drawn.decoder.ids[row, :length].tolist())
        rebuilt = equations.stack("decoder", settings.decoder_layers, enter)
        for place in holes:
            inner = equations.normed("transform.2", gelu(equations.affine("transform.0", rebuilt[place])))
            logits = equations.table @ inner + equations.weights["backbone.model.cls.predictions.bias"]
            equations.guess("decoder", logits, int(equations.given.ids[row, place]))


def condenser(equations: Equations, settings: Condenser | CoCondenser) -> None:
    embeddings = []
    for row in equations.rows:
        states = equations.states(row)
        last, early = equations.masked(row), states[settings.early_layer or 1]  # the middle of three, rounded down
        rebuilt = equations.stack("condenser", settings.head_layers, [last[0], *early[1:]])
        for place in equations.holes(row, row, equations.drawn.encoder):
            equations.guess("decoder", equations.head(rebuilt[place]), int(equations.given.ids[row, place]))
        embeddings.append(last[0])
    if isinstance(settings, CoCondenser):
        equations.contrast(embeddings, settings.temperature)


def cropping(equations: Equations, settings: Cropping) -> None:
    embeddings = []
    for row in equations.rows:
        ids = equations.given.ids[row : row + 1, : equations.lengths[row]]
        hidden = equations.made.backbone.model.bert(input_ids=ids).last_hidden_state[0]
        embedding = equations.embedding(hidden, settings.pooling or "cls")
        embeddings.append(embedding / torch.sqrt((embedding**2).sum()) if settings.normalise else embedding)
    equations.contrast(embeddings, settings.temperature)


def simcse(equations: Equations, settings: SimCse) -> None:
    twice = [torch.cat([tensor, tensor]) for tensor in (equations.given.ids, equations.given.attention.long())]
    torch.manual_seed(5)  # the same dropout
    hidden = equations.made.backbone.model.bert(*twice).last_hidden_state
    embeddings = []
    for row in range(2 * len(equations.rows)):
        real = hidden[row, : equations.lengths[row % len(equations.rows)]]
        embedding = equations.embedding(real, settings.pooling or "cls")
        embeddings.append(embedding / torch.sqrt((embedding**2).sum()))
    equations.contrast(embeddings, settings.temperature)


def mlm(equations: Equations, _: Mlm) -> None:
    for row in equations.rows:
        equations.masked(row)


LITERAL: dict[type[Objective], Any] = {
    Bow: bow,
    CoCondenser: condenser,
    Condenser: condenser,
    CotMae: cotmae,
    CotMaeV2: cotmae_v2,
    Cropping: cropping,
    DupMae: dupmae,
    LexMae: lexmae,
    Mlm: mlm,
    SimCse: simcse,
}
CASES = [
    DupMae(),
    DupMae(preset="paper"),
    DupMae(preset="paper", encoder_mask_rate=0.9, bottleneck="mean"),  # some texts are masked whole
    Bow(),
    Bow(bottleneck="mean"),
    CotMae(),
    CotMae(encode_contexts=False, bottleneck="mean"),
    CotMae(context=Context.named("queries"), decoder_layers=1, encode_contexts=False),
    CotMaeV2(),
    CotMaeV2(encode_contexts=False, bottleneck="mean", special_places=False, top_k=None),
    CotMaeV2(window=3, activation="relu", top_k=5, decoder_layers=2),
    CotMaeV2(window=1, activation="raw", top_k=12),
    CotMaeV2(projection="linear", top_k=7, encode_contexts=False),
    CotMaeV2(projection="distribution", top_k=None, shared_decoders=False),
    CotMaeV2(projection="distribution", top_k=9, special_places=False, encode_contexts=False),
    LexMae(),
    LexMae(distribution="saturated", whole_words=True, decoder_layers=1),
    Condenser(),
    Condenser(early_layer=2, head_layers=1, late_mlm=False),
    CoCondenser(),
    CoCondenser(temperature=3.0, early_layer=2, head_layers=1),
    Cropping(),
    Cropping(pooling="mean", normalise=False, temperature=5.0),
    Cropping(pooling="max", temperature=0.2),
    SimCse(),
    SimCse(pooling="mean", temperature=0.2),
    Mlm(),
    Mlm(whole_words=False, encoder_mask_rate=0.4),
]


def said(settings: Objective) -> str:
    """What is not as by default."""
    plain = type(settings)()
    own = {field.name: getattr(settings, field.name) for field in fields(settings)}
    other = [f"{name}={value}" for name, value in own.items() if value != getattr(plain, name)]
    return f"{type(settings).__name__}({', '.join(other)})"


def assert_same(found: Tensor, expected: Tensor, what: str, kind: torch.dtype) -> None:
    """Equal to a millionth of their length, or of 1 where they are shorter; a contrast in float32 to a bit less."""
    apart, length = (float(vector.detach().norm()) for vector in (found - expected, expected))
    assert apart < (1e-6 if kind == torch.float64 else 1e-5) * max(1, length), f"{what}: {apart} apart"


def gradients(total: Tensor, made: PretrainingModule) -> dict[str, Tensor]:
    learnt = {name: parameter for name, parameter in made.named_parameters() if parameter.requires_grad}
    of = [*learnt.values()]
    slopes = torch.autograd.grad(total, of, retain_graph=True, allow_unused=True, materialize_grads=True)
    return dict(zip(learnt, slopes, strict=True))


@pytest.mark.parametrize("settings", CASES, ids=said)
def test_losses_and_gradients_are_those_of_the_equations(settings: Objective) -> None:
    made, given = module(settings, dropout=0.1 if isinstance(settings, SimCse) else 0.0), batch()
    drawn = made.draw(given)
    torch.manual_seed(5)
    sums, compared = made(drawn)
    assert bool(compared) == made.compares
    if compared:
        sums |= made.compare(compared)
    equations = Equations(made, given, drawn)
    LITERAL[type(settings)](equations, settings)
    kept = [name for name, parameter in made.named_parameters() if not parameter.requires_grad]
    assert bool(kept) != settings.needs_head and all(name.startswith("backbone.model.cls.") for name in kept)
    right = {term: int(sums.pop(term)) for term in [*sums] if term.endswith("_right")}
    assert sums.keys() == equations.sums.keys() == made.weights.keys()
    assert right == equations.right
    counts = {term: int(count) for term, count in drawn.counts().items()}
    assert counts == equations.counts | {term: equations.counts[term.removesuffix("_right")] for term in right}
    for term, total in equations.sums.items():
        kind = sums[term].dtype
        assert_same(sums[term], total, term, kind)
        found = gradients(sums[term], made)
        for name, slope in gradients(total, made).items():
            assert_same(found[name], slope, f"{term} by {name}", kind)


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        (DupMae(), {"encoder": 1, "decoder": 1, "bag": 0.1}),
        (DupMae(preset="paper"), {"encoder": 1, "decoder": 1, "bag": 1}),
        (DupMae(preset="paper", bag_weight=0.3), {"encoder": 1, "decoder": 1, "bag": 0.3}),
        (CotMae(), {"encoder": 1, "decoder": 1}),
        (CotMae(decoder_weight=0.5), {"encoder": 1, "decoder": 0.5}),
        (
            CotMaeV2(encoder_weight=0, ae_dense_weight=2, ae_sparse_weight=3, ar_dense_weight=4, ar_sparse_weight=5),
            {"encoder": 0, "ae_dense": 2, "ae_sparse": 3, "ar_dense": 4, "ar_sparse": 5},
        ),
        (LexMae(), {"encoder": 1, "decoder": 1}),
        (Condenser(), {"encoder": 1, "decoder": 1}),
        (Condenser(late_mlm=False), {"encoder": 0, "decoder": 1}),
        (CoCondenser(late_mlm=False, contrast_weight=0.2), {"encoder": 0, "decoder": 1, "contrast": 0.2}),
        (Cropping(), {"contrast": 1}),
        (Mlm(), {"encoder": 1}),
    ],
    ids=lambda value: said(value) if isinstance(value, Objective) else "",
)
def test_the_terms_weigh_what_is_asked_all_along(settings: Objective, weights: dict[str, float]) -> None:
    made = module(settings)
    assert all(made.weights_at(done) == weights for done in (0.0, 0.4, 1.0))


def test_the_bag_of_bow_weighs_less_and_less() -> None:
    made = module(Bow(bag_weight=3.0, last_bag_weight=1.0))
    bags = [made.weights_at(done)["bag"] for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert bags == pytest.approx([3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5), 1], abs=1e-12)
    assert module(Bow()).weights_at(1.0) == {"encoder": 1, "bag": pytest.approx(0.1)}


def test_simcse_is_refused_without_dropout_and_its_two_views_differ_by_it() -> None:
    with pytest.raises(RecipeError, match="the encoder has no dropout"):
        module(SimCse())
    made, given = module(SimCse(), dropout=0.1), batch()
    first, second = made(made.draw(given)).compared[0].vectors[0].unbind(dim=1)
    assert ((first - second).norm(dim=1) > 1e-3).all()
    first, second = made.eval()(made.draw(given)).compared[0].vectors[0].unbind(dim=1)
    torch.testing.assert_close(first, second)


def test_which_spans_are_encoded_hangs_on_the_context_where_nobody_says() -> None:
    queries = Context.named("queries")
    for settings, both in ((CotMae(), True), (CotMaeV2(), True), (CotMae(context=queries), False)):
        assert len(module(settings).draw(batch()).texts.ids) == (4 if both else 2)
    assert len(module(CotMaeV2(context=queries, encode_contexts=True)).draw(batch()).texts.ids) == 4


@pytest.mark.parametrize(
    "settings",
    [
        *(Bow(), CotMae(), CotMaeV2(), CotMaeV2(special_places=False), Condenser(), DupMae(), DupMae(preset="paper")),
        *(LexMae(), LexMae(distribution="saturated"), Mlm()),
    ],
    ids=said,
)
def test_a_text_of_unknown_tokens_alone_breaks_nothing(settings: Objective) -> None:
    """Four emojis are four unknown tokens to many a tokenizer, and these are special: no word is left."""
    made, given = module(settings), batch()
    given.ids[1, 1:5] = 3
    for rows in (slice(1, 2), slice(None)):
        given.words[rows] = -1
        drawn = made.draw(given)
        sums = made(drawn).sums
        counts = drawn.counts()
        total = torch.stack([sums[term] / counts[term].clamp(min=1) for term in made.weights]).sum()
        assert all(slope.isfinite().all() for slope in (total, *gradients(total, made).values()))

"""Each objective except RetroMAE equals a literal float64 implementation of its equations, with its gradients."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from encloze.errors import RecipeError
from encloze.models.layers.masking import TokenBatch
from encloze.models.pretraining_module import PretrainingModule
from encloze.objectives.base import Objective
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
from parity.literal_objectives import DROPOUT_SEED, LITERAL, VOCABULARY, Equations

LENGTHS = (9, 6, 7, 11)
CASES = [
    DupMae(),
    DupMae(preset="paper"),
    DupMae(preset="paper", encoder_mask_rate=0.9, bottleneck="mean"),  # masks all tokens of some texts
    Bow(),
    Bow(bottleneck="mean"),
    CotMae(),
    CotMae(encode_contexts=False, bottleneck="mean"),
    CotMae(context=Context.from_name("queries"), decoder_layers=1, encode_contexts=False),
    CotMaeV2(),
    CotMaeV2(encode_contexts=False, bottleneck="mean", pool_special_tokens=False, top_k=None),
    CotMaeV2(window=3, activation="relu", top_k=5, decoder_layers=2),
    CotMaeV2(window=1, activation="raw", top_k=12),
    CotMaeV2(projection="linear", top_k=7, encode_contexts=False),
    CotMaeV2(projection="distribution", top_k=None, shared_decoders=False),
    CotMaeV2(projection="distribution", top_k=9, pool_special_tokens=False, encode_contexts=False),
    LexMae(),
    LexMae(distribution="saturated", whole_word_masking=True, decoder_layers=1),
    Condenser(),
    Condenser(early_layer=2, head_layers=1, late_mlm=False),
    CoCondenser(),
    CoCondenser(temperature=3.0, early_layer=2, head_layers=1),
    Cropping(),
    Cropping(pooling="mean", normalize=False, temperature=5.0),
    Cropping(pooling="max", temperature=0.2),
    SimCse(),
    SimCse(pooling="mean", temperature=0.2),
    Mlm(),
    Mlm(whole_word_masking=False, encoder_mask_rate=0.4),
]


def random_batch(epoch: int = 1) -> TokenBatch:
    """Texts with first token 1, last 2, padding 0, and a repeated token; every third token continues a word.

    The last text has a special token inside.
    """
    generator = torch.Generator().manual_seed(0)
    width, rows = max(LENGTHS), len(LENGTHS)
    ids, word_ids = torch.zeros(rows, width, dtype=torch.int64), torch.full((rows, width), -1)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = torch.randint(5, VOCABULARY, (length,), generator=generator)
        ids[row, 3] = ids[row, 1]
        ids[row, 0], ids[row, length - 1] = 1, 2
        starts = torch.tensor([position % 3 != 2 for position in range(length - 2)])
        word_ids[row, 1 : length - 1] = starts.cumsum(0) - 1
    ids[-1, 5], word_ids[-1, 5] = 3, -1
    attention_mask = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    return TokenBatch(ids, attention_mask, word_ids, torch.arange(rows) + 7, torch.arange(rows), 3, epoch)


def build(settings: Objective, pooling: str = "cls", dropout: float = 0.0) -> Any:
    """The objective's module over a tiny BERT, in float64; random biases and norms, because 0 and 1 hide errors."""
    backbone = toys.backbone(VOCABULARY, layers=3, dropout=dropout)
    torch.manual_seed(1)
    module = settings.build_module(backbone, toys.OnlyMask(), pooling).double()  # type: ignore[arg-type]
    norms = {id(part.weight) for part in module.modules() if isinstance(part, torch.nn.LayerNorm)}
    for name, parameter in module.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(id(parameter) in norms), std=0.3)
        elif not name.startswith("backbone."):
            torch.nn.init.normal_(parameter, std=0.3)
    return module.train()


def describe(settings: Objective) -> str:
    """Name of the objective and its settings that are not the defaults."""
    defaults = type(settings)()
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    changes = [f"{name}={value}" for name, value in values.items() if value != getattr(defaults, name)]
    return f"{type(settings).__name__}({', '.join(changes)})"


def assert_same(value: Tensor, expected: Tensor, name: str, dtype: torch.dtype) -> None:
    """Equal up to 1e-6 (float64) or 1e-5 (contrastive loss in float32) of the norm, or absolutely below norm 1."""
    difference, norm = (float(tensor.detach().norm()) for tensor in (value - expected, expected))
    assert difference < (1e-6 if dtype == torch.float64 else 1e-5) * max(1, norm), f"{name} differs by {difference}"


def gradients(total: Tensor, module: PretrainingModule) -> dict[str, Tensor]:
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    values = torch.autograd.grad(
        total, [*trained.values()], retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(trained, values, strict=True))


@pytest.mark.parametrize("settings", CASES, ids=describe)
def test_losses_and_gradients_equal_the_equations(settings: Objective) -> None:
    module, batch = build(settings, dropout=0.1 if isinstance(settings, SimCse) else 0.0), random_batch()
    sampled = module.sample(batch)
    torch.manual_seed(DROPOUT_SEED)
    sums, embeddings = module(sampled)
    assert bool(embeddings) == module.has_global_losses
    if embeddings:
        sums |= module.global_losses(embeddings)
    equations = Equations(module, batch, sampled)
    LITERAL[type(settings)](equations, settings)
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    assert bool(frozen) != settings.needs_mlm_head
    assert all(name.startswith("backbone.model.cls.") for name in frozen)
    correct = {name: int(sums.pop(name)) for name in [*sums] if name.endswith("accuracy")}
    assert sums.keys() == equations.sums.keys() == module.loss_weights.keys()
    assert correct == equations.correct
    assert {name: int(count) for name, count in sampled.counts().items()} == equations.counts
    for term, expected in equations.sums.items():
        dtype = sums[term].dtype
        assert_same(sums[term], expected, term, dtype)
        term_gradients = gradients(sums[term], module)
        for name, gradient in gradients(expected, module).items():
            assert_same(term_gradients[name], gradient, f"gradient of {term} for {name}", dtype)


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        (DupMae(), {"encoder": 1, "decoder": 1, "bow": 0.1}),
        (DupMae(preset="paper"), {"encoder": 1, "decoder": 1, "bow": 1}),
        (DupMae(preset="paper", bow_weight=0.3), {"encoder": 1, "decoder": 1, "bow": 0.3}),
        (CotMae(), {"encoder": 1, "decoder": 1}),
        (CotMae(decoder_weight=0.5), {"encoder": 1, "decoder": 0.5}),
        (
            CotMaeV2(encoder_weight=0, ae_dense_weight=2, ae_sparse_weight=3, ar_dense_weight=4, ar_sparse_weight=5),
            {"encoder": 0, "ae_dense": 2, "ae_sparse": 3, "ar_dense": 4, "ar_sparse": 5},
        ),
        (LexMae(), {"encoder": 1, "decoder": 1}),
        (Condenser(), {"encoder": 1, "decoder": 1}),
        (Condenser(late_mlm=False), {"encoder": 0, "decoder": 1}),
        (CoCondenser(late_mlm=False, contrastive_weight=0.2), {"encoder": 0, "decoder": 1, "contrastive": 0.2}),
        (Cropping(), {"contrastive": 1}),
        (Mlm(), {"encoder": 1}),
    ],
    ids=lambda value: describe(value) if isinstance(value, Objective) else "",
)
def test_loss_weights_are_the_settings_and_constant(settings: Objective, weights: dict[str, float]) -> None:
    module = build(settings)
    assert all(module.loss_weights_at(progress) == weights for progress in (0.0, 0.4, 1.0))


def test_the_bag_of_words_weight_of_bow_decays_by_a_cosine() -> None:
    module = build(Bow(bow_weight=3.0, final_bow_weight=1.0))
    weights = [module.loss_weights_at(progress)["bow"] for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert weights == pytest.approx([3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5), 1], abs=1e-12)
    assert build(Bow()).loss_weights_at(1.0) == {"encoder": 1, "bow": pytest.approx(0.1)}


def test_simcse_requires_dropout_and_its_two_embeddings_differ_by_it() -> None:
    with pytest.raises(RecipeError, match="simcse needs dropout"):
        build(SimCse())
    module, batch = build(SimCse(), dropout=0.1), random_batch()
    first, second = module(module.sample(batch)).embeddings[0].vectors[0].unbind(dim=1)
    assert ((first - second).norm(dim=1) > 1e-3).all()
    first, second = module.eval()(module.sample(batch)).embeddings[0].vectors[0].unbind(dim=1)
    torch.testing.assert_close(first, second)


def test_contexts_are_encoded_by_default_unless_they_are_queries() -> None:
    queries = Context.from_name("queries")
    for settings, expected in ((CotMae(), 4), (CotMaeV2(), 4), (CotMae(context=queries), 2)):
        assert len(build(settings).sample(random_batch()).texts.ids) == expected
    assert len(build(CotMaeV2(context=queries, encode_contexts=True)).sample(random_batch()).texts.ids) == 4


@pytest.mark.parametrize(
    "settings",
    [
        *(Bow(), CotMae(), CotMaeV2(), CotMaeV2(pool_special_tokens=False), Condenser(), DupMae()),
        *(DupMae(preset="paper"), LexMae(), LexMae(distribution="saturated"), Mlm()),
    ],
    ids=describe,
)
def test_a_text_without_words_has_finite_losses_and_gradients(settings: Objective) -> None:
    """Four emojis are four unknown tokens to many tokenizers; these are special tokens, so no word is left."""
    module, batch = build(settings), random_batch()
    batch.ids[1, 1:5] = 3
    for rows in (slice(1, 2), slice(None)):
        batch.word_ids[rows] = -1
        sampled = module.sample(batch)
        sums, counts = module(sampled).sums, sampled.counts()
        total = torch.stack([sums[term] / counts[term].clamp(min=1) for term in module.loss_weights]).sum()
        assert all(value.isfinite().all() for value in (total, *gradients(total, module).values()))

"""Every objective on every encoder family: it learns through its bottleneck, is saved, loaded, continued and resumed.

By default every objective runs on BERT, and every family with retromae and cotmae_v2; the full product is slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM

import toys
from encloze.backbones.base import Backbone
from encloze.commands.pretrain import Pretrain
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.models.layers import condensing
from encloze.models.origins.base import Origin
from encloze.objectives import cotmae, cotmae_v2, lexmae
from encloze.objectives.base import Objective, PretrainingModule, Reading
from encloze.training.loop import Training, train
from encloze.training.plan import BatchPlan
from encloze.training.state import Unfinished
from encloze.training.texts import TextBatches

USUAL = [(name, "bert") for name in Objective.members()]
USUAL += [(name, kind) for name in ("retromae", "cotmae_v2") for kind in Backbone.members() if kind != "bert"]
REST = [(name, kind) for name in Objective.members() for kind in Backbone.members() if (name, kind) not in USUAL]
CASES = [*USUAL, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)]
each = pytest.mark.parametrize(("name", "kind"), CASES)

BY_VIEW: dict[str, dict[str, Any]] = {name: {"decoder_mask_rate": 0.999} for name in ("retromae", "dupmae")}
BY_VIEW["cotmae_v2"] = {"top_k": 8}  # of 300 tokens: the mixture of all of them is hardly another one from text to text
PLAIN_DECODERS = {"cotmae": cotmae, "cotmae_v2": cotmae_v2, "lexmae": lexmae, "condenser": condensing}
PLAIN_DECODERS["cocondenser"] = condensing


def only_the_view(attention: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """A mask for plain decoders: every place sees the first one, where the view is, and no other."""
    return (torch.arange(attention.shape[1]) == 0).expand(*attention.shape, -1)


def shuffled(reading: Reading) -> Reading:
    """The same reading, but each text's views are those of the text before it."""
    return reading._replace(views=tuple(view.roll(1, dims=0) for view in reading.views))


def module(name: str, kind: str, **settings: Any) -> PretrainingModule:
    """An objective's module on a tiny encoder."""
    tokenizer = toys.tokenizer()
    backbone = toys.encoder(kind, tokenizer.size, dropout=0.1 if name == "simcse" else 0.0)
    torch.manual_seed(1)
    made = Objective.member(name)(**settings).module(backbone, tokenizer, "cls")
    for parameter in made.parameters():
        parameter.data.add_(0)  # leaves of their own, whatever was cached while the backbone was tried
    return made.train()


def batches(name: str, dataset: Path) -> TextBatches:
    """The toy texts as an objective gets them."""
    format_ = Format.named(str(dataset))
    return TextBatches(format_, Corpus.open(format_), toys.tokenizer(), 64, Objective.named(name).contexts(), seed=0)


def learn(made: PretrainingModule, texts: TextBatches, steps: int, rate: float = 3e-3) -> list[dict[str, float]]:
    """The mean of each term at every step."""
    optimizer = torch.optim.AdamW(made.parameters(), rate)
    seen = []
    for step in range(steps):
        torch.manual_seed(step)
        drawn = made.draw(texts(texts.usable, step, torch.device("cpu")))
        sums, compared = made(drawn)
        if compared:
            sums |= made.compare(compared)
        counts = drawn.counts()
        loss = torch.stack([weight * sums[term] / counts[term] for term, weight in made.weights.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append({term: float(sums[term].detach()) / float(counts[term]) for term in made.weights})
    return seen


@each
def test_every_term_falls_and_decoders_live_on_the_view_alone(
    name: str, kind: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mask in ("everything_real", "what_came_before"):
        monkeypatch.setattr(PLAIN_DECODERS.get(name, condensing), mask, only_the_view, raising=False)
    made, texts = module(name, kind, **BY_VIEW.get(name, {})), batches(name, dataset)
    seen = learn(made, texts, steps=80 if name == "lexmae" else 50, rate=6e-3)
    for term in made.weights:
        first, last = (np.mean([step[term] for step in part]) for part in (seen[:3], seen[-3:]))
        assert last < 0.9 * first, (term, first, last)
    made.eval()
    with torch.no_grad():
        mixed = np.random.default_rng(0).permutation(texts.usable)  # neighbours stand side by side in the corpus
        drawn = made.draw(texts(mixed, 99, torch.device("cpu")))
        reading = made.read(drawn)
        own, other = made.rebuild(drawn, reading), made.rebuild(drawn, shuffled(reading))
    for term in own.keys() & made.weights.keys():
        print(name, kind, term, float(own[term]) / float(other[term]))
        assert float(own[term]) < 0.999 * float(other[term]), term


@each
def test_a_run_that_stopped_goes_on_to_the_same_weights(
    name: str, kind: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = batches(name, dataset)
    plan = BatchPlan(texts.lengths, 0, batch_size=12)
    settings = Training(learning_rate=1e-3, steps=5, precision="float32", log_every=1, save_every=2)

    def run(folder: Path, make_batch: Callable[..., Any], *, resume: bool = False) -> PretrainingModule:
        made, state = module(name, kind), Unfinished(folder / "model")
        state.begin({}, resume=resume, overwrite=False)
        train(made, plan, make_batch, settings, state, 0, {})
        return made

    def stopped(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        calls.append(epoch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return texts(texts.usable[numbers], epoch, device)

    def whole(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        return texts(texts.usable[numbers], epoch, device)

    calls: list[int] = []
    undisturbed = run(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stopped)
    resumed = run(tmp_path / "stopped", whole, resume=True)
    for (parameter, value), other in zip(undisturbed.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(value, other), parameter


@each
def test_a_saved_model_is_transformers_own_and_goes_on_with_its_decoders(
    name: str, kind: str, dataset: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    tokenizer = toys.tokenizer()
    toys.encoder(kind, tokenizer.size, dropout=0.1).save(start)
    tokenizer.save(start, 64)
    still = Training(learning_rate=1e-30, warmup_share=0, weight_decay=0, steps=1, precision="float32")
    settings = {"max_tokens": 60, "batch_tokens": 512, "training": replace(still, learning_rate=1e-3, steps=2)}
    corpus, objective = Format.named(str(dataset)), Objective.named(name)
    Pretrain(corpus, Origin.named(str(start)), objective, tmp_path / "first", **settings).run()  # type: ignore[arg-type]
    model, report = AutoModelForMaskedLM.from_pretrained(tmp_path / "first", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    hidden = AutoModel.from_pretrained(tmp_path / "first").eval()(torch.arange(5, 13)[None]).last_hidden_state
    torch.testing.assert_close(model.base_model.eval()(torch.arange(5, 13)[None]).last_hidden_state, hidden)
    again = Pretrain(
        corpus,
        Origin.named(str(tmp_path / "first")),
        objective,
        tmp_path / "second",
        60,
        batch_tokens=512,
        training=still,
    )
    again.run()
    decoders = tmp_path / "first" / "decoders.safetensors"
    assert decoders.exists() == bool(module(name, kind).decoder_state())
    for file in ("model.safetensors", *(["decoders.safetensors"] if decoders.exists() else [])):
        first, second = (load_file(tmp_path / run / file) for run in ("first", "second"))
        assert first.keys() == second.keys()
        for tensor, value in first.items():  # a step at this rate moves what is 0, and nothing else
            torch.testing.assert_close(value, second[tensor], atol=1e-20, rtol=0, msg=tensor)


@pytest.mark.parametrize("name", Objective.members())
def test_settings_out_of_range_are_refused(name: str) -> None:
    member = Objective.member(name)
    for field in fields(member):
        if field.name.endswith("_rate"):
            with pytest.raises(ValueError, match=f"{field.name} must lie between 0 and 1, not 1.5"):
                member(**{field.name: 1.5})
        if field.name in ("temperature", "decoder_layers", "head_layers"):
            with pytest.raises(ValueError, match=f"{field.name} must be"):
                member(**{field.name: 0})

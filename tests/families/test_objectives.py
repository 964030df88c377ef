"""Every objective on every encoder family: it learns through its bottleneck, resumes, and is saved and continued.

By default every objective runs on BERT, and every family with RetroMAE; the full product is slow.
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
from encloze.models.layers import condenser_head
from encloze.models.origins.base import Origin
from encloze.models.pretraining_module import EncoderOutput, PretrainingModule
from encloze.objectives import cotmae, cotmae_v2, lexmae
from encloze.objectives.base import Objective
from encloze.storage.run_state import RunState
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.loop import train
from encloze.training.pretraining_batches import PretrainingBatches


def cases(*on_every_family: str, also: tuple[tuple[str, str], ...] = ()) -> list[Any]:
    """Pairs of an objective and a backbone family, all but the listed ones marked slow.

    Args:
        on_every_family: Objectives that run on every family by default; the others run on BERT.
        also: Further pairs that run by default.
    """
    pairs = [(name, kind) for name in Objective.members() for kind in Backbone.members()]
    return [
        pair
        if pair[1] == "bert" or pair[0] in on_every_family or pair in also
        else pytest.param(*pair, marks=pytest.mark.slow)
        for pair in pairs
    ]


# Settings and masks with which decoders receive information through the bottleneck only.
ONLY_BOTTLENECK: dict[str, dict[str, Any]] = {name: {"decoder_mask_rate": 0.999} for name in ("retromae", "dupmae")}
ONLY_BOTTLENECK["cotmae_v2"] = {"top_k": 8}  # mixtures of all 300 tokens hardly differ between texts
MODULES_WITH_MASKS = {"cotmae": cotmae, "cotmae_v2": cotmae_v2, "lexmae": lexmae}


def only_bottleneck_mask(attention_mask: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """Attention mask of plain decoders in which each position sees position 0 only, where the bottleneck is."""
    return (torch.arange(attention_mask.shape[1]) == 0).expand(*attention_mask.shape, -1)


def shuffle_bottlenecks(encoder_output: EncoderOutput) -> EncoderOutput:
    """The encoder output in which each text has the bottlenecks of the previous one."""
    return encoder_output._replace(bottlenecks=tuple(each.roll(1, dims=0) for each in encoder_output.bottlenecks))


def build(name: str, kind: str, **settings: Any) -> PretrainingModule:
    """An objective's module on a tiny encoder."""
    tokenizer = toys.tokenizer()
    backbone = toys.encoder(kind, tokenizer.vocab_size, dropout=0.1 if name == "simcse" else 0.0)
    torch.manual_seed(1)
    module = Objective.member(name)(**settings).build_module(backbone, tokenizer, "cls")
    for parameter in module.parameters():
        parameter.data.add_(0)  # own memory, in case a tensor was cached while the backbone was checked
    return module.train()


def batches(name: str, dataset: Path) -> PretrainingBatches:
    """Pre-training batches of the toy texts for an objective."""
    format_ = Format.from_name(str(dataset))
    return PretrainingBatches(
        format_, Corpus.from_format(format_), toys.tokenizer(), 64, Objective.from_name(name).pair_source(), seed=0
    )


def train_steps(
    module: PretrainingModule, texts: PretrainingBatches, steps: int, learning_rate: float
) -> list[dict[str, float]]:
    """Train and return the mean of each loss term at every step."""
    optimizer = torch.optim.AdamW(module.parameters(), learning_rate)
    history = []
    for step in range(steps):
        torch.manual_seed(step)
        sampled = module.sample(texts(texts.usable, step, torch.device("cpu")))
        sums, embeddings = module(sampled)
        if embeddings:
            sums |= module.global_losses(embeddings)
        counts = sampled.counts()
        loss = torch.stack([weight * sums[term] / counts[term] for term, weight in module.loss_weights.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({term: float(sums[term].detach()) / float(counts[term]) for term in module.loss_weights})
    return history


# cotmae_v2 mixes token embeddings, which ELECTRA projects to the hidden size.
@pytest.mark.parametrize(("name", "kind"), cases("retromae", also=(("cotmae_v2", "electra"),)))
def test_loss_terms_decrease_and_decoders_use_the_bottleneck(
    name: str, kind: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mask in ("padding_mask", "causal_mask"):
        monkeypatch.setattr(MODULES_WITH_MASKS.get(name, condenser_head), mask, only_bottleneck_mask, raising=False)
    module, texts = build(name, kind, **ONLY_BOTTLENECK.get(name, {})), batches(name, dataset)
    history = train_steps(module, texts, steps=80 if name == "lexmae" else 50, learning_rate=6e-3)
    for term in module.loss_weights:
        first, last = (np.mean([step[term] for step in part]) for part in (history[:3], history[-3:]))
        assert last < 0.9 * first, (term, first, last)
    module.eval()
    with torch.no_grad():
        numbers = np.random.default_rng(0).permutation(texts.usable)  # neighboring spans are adjacent in the corpus
        sampled = module.sample(texts(numbers, 99, torch.device("cpu")))
        encoder_output = module.encode(sampled)
        own, other = module.decode(sampled, encoder_output), module.decode(sampled, shuffle_bottlenecks(encoder_output))
    for term in own.keys() & module.loss_weights.keys():
        assert float(own[term]) < 0.999 * float(other[term]), term


@pytest.mark.parametrize(("name", "kind"), cases("retromae"))
def test_a_resumed_run_ends_with_the_same_weights(
    name: str, kind: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = batches(name, dataset)
    plan = LengthGroupedPlan(texts.lengths, 0, batch_size=12)
    settings = TrainingArguments(learning_rate=1e-3, steps=5, precision="float32", logging_steps=1, save_steps=2)

    def run(folder: Path, make_batch: Callable[..., Any], *, resume: bool = False) -> PretrainingModule:
        module, state = build(name, kind), RunState(folder / "model")
        state.prepare({}, resume=resume, overwrite=False)
        train(module, plan, make_batch, settings, state, 0, {})
        return module

    def interrupted(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        calls.append(epoch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return texts(texts.usable[numbers], epoch, device)

    def whole(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        return texts(texts.usable[numbers], epoch, device)

    calls: list[int] = []
    uninterrupted = run(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "interrupted", interrupted)
    resumed = run(tmp_path / "interrupted", whole, resume=True)
    for (parameter, value), other in zip(uninterrupted.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(value, other), parameter


@pytest.mark.parametrize(("name", "kind"), cases("retromae"))
def test_a_saved_model_loads_in_transformers_and_continues_with_its_decoders(
    name: str, kind: str, dataset: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    tokenizer = toys.tokenizer()
    toys.encoder(kind, tokenizer.vocab_size, dropout=0.1).save(start)
    tokenizer.save(start, 64)
    no_change = TrainingArguments(learning_rate=1e-30, warmup_ratio=0, weight_decay=0, steps=1, precision="float32")
    settings = {"max_tokens": 60, "batch_tokens": 512, "training": replace(no_change, learning_rate=1e-3, steps=2)}
    corpus, objective = Format.from_name(str(dataset)), Objective.from_name(name)
    Pretrain(corpus, Origin.from_name(str(start)), objective, tmp_path / "first", **settings).run()  # type: ignore[arg-type]
    model, report = AutoModelForMaskedLM.from_pretrained(tmp_path / "first", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    hidden = AutoModel.from_pretrained(tmp_path / "first").eval()(torch.arange(5, 13)[None]).last_hidden_state
    torch.testing.assert_close(model.base_model.eval()(torch.arange(5, 13)[None]).last_hidden_state, hidden)
    continued = Pretrain(
        corpus,
        Origin.from_name(str(tmp_path / "first")),
        objective,
        tmp_path / "second",
        max_tokens=60,
        batch_tokens=512,
        training=no_change,
    )
    continued.run()
    decoders = tmp_path / "first" / "decoders.safetensors"
    assert decoders.exists() == bool(build(name, kind).decoder_state())
    for file in ("model.safetensors", *(["decoders.safetensors"] if decoders.exists() else [])):
        first, second = (load_file(tmp_path / run / file) for run in ("first", "second"))
        assert first.keys() == second.keys()
        for tensor, value in first.items():  # at this learning rate a step changes only zeros
            torch.testing.assert_close(value, second[tensor], atol=1e-20, rtol=0, msg=tensor)


@pytest.mark.parametrize("name", Objective.members())
def test_settings_out_of_range_are_rejected(name: str) -> None:
    member = Objective.member(name)
    for field in fields(member):
        if field.name.endswith("_rate"):
            with pytest.raises(ValueError, match=f"{field.name} must be between 0 and 1, not 1.5"):
                member(**{field.name: 1.5})
        if field.name in ("temperature", "decoder_layers", "head_layers"):
            with pytest.raises(ValueError, match=f"{field.name} must be"):
                member(**{field.name: 0})

"""Tests of the training loop: micro-batches, encoder freezing, log, checkpoints, resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from encloze.errors import CheckpointError, EnclozeError, StorageError
from encloze.objectives.retromae import RetroMae, RetroMaeModule
from encloze.storage.run_state import RunState
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.checkpoint import save_checkpoint
from encloze.training.loop import train
from encloze.training.loss_spikes import LossSpikeDetector

SETTINGS = TrainingArguments(learning_rate=1e-3, steps=6, precision="float32", logging_steps=2, save_steps=0)


def trained(folder: Path, settings: TrainingArguments, *, dropout: float = 0.0, begin: bool = True) -> RetroMaeModule:
    """Return a tiny RetroMAE module after training on the toy texts."""
    tokenizer = toys.tokenizer()
    lengths, make_batch = toys.text_batches(tokenizer)
    torch.manual_seed(0)
    module = RetroMae().build_module(toys.backbone(tokenizer.vocab_size, dropout=dropout), tokenizer, "cls")
    state = RunState(folder / "model")
    if begin:
        state.prepare({}, resume=False, overwrite=True)
    plan = LengthGroupedPlan(lengths, 0, batch_size=16)
    train(module, plan, make_batch, settings, state, 0, {"corpus": "toys"})
    return module  # type: ignore[return-value]


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def test_micro_batches_give_the_weights_of_the_whole_batch(tmp_path: Path) -> None:
    whole = weights(trained(tmp_path / "a", SETTINGS))
    parts = weights(trained(tmp_path / "b", replace(SETTINGS, micro_batches=3)))
    more_parts_than_texts = weights(trained(tmp_path / "c", replace(SETTINGS, micro_batches=20)))
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(value, more_parts_than_texts[name], atol=2e-4, rtol=1e-3)


def test_freeze_encoder_steps_train_only_the_new_parameters(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    torch.manual_seed(0)
    before = RetroMae().build_module(toys.backbone(tokenizer.vocab_size), tokenizer, "cls")
    after = trained(tmp_path, replace(SETTINGS, freeze_encoder_steps=6))
    frozen = {id(parameter) for parameter in after.encoder_parameters()}
    for (name, first), second in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(first, second) == (id(second) in frozen), name
    unfrozen = trained(tmp_path / "unfrozen", replace(SETTINGS, freeze_encoder_steps=3))
    first_layer = "backbone.model.bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights(before)[first_layer], weights(unfrozen)[first_layer])
    assert all(parameter.requires_grad for parameter in unfrozen.parameters())


def test_log_has_the_mean_of_each_term(tmp_path: Path) -> None:
    trained(tmp_path, SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "model.checkpoint" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(4 < line["encoder"] < 8 and 4 < line["decoder"] < 8 for line in lines)  # about log of 300 tokens
    assert lines[-1]["decoder"] < lines[0]["decoder"]
    assert all(0 <= line["decoder_accuracy"] <= 1 for line in lines)


def test_resumed_run_gives_identical_weights(tmp_path: Path) -> None:
    whole = weights(trained(tmp_path / "a", replace(SETTINGS, save_steps=2, freeze_encoder_steps=3), dropout=0.1))
    folder = tmp_path / "b"

    class Stopped(Exception):
        """Simulates a killed process."""

    def stop_after_second_checkpoint(folder: Path, step: int, module: Any, optimizer: Any) -> None:
        save_checkpoint(folder, step, module, optimizer)
        if step == 4:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encloze.training.loop.save_checkpoint", stop_after_second_checkpoint)
        with pytest.raises(Stopped):
            trained(folder, replace(SETTINGS, save_steps=2, freeze_encoder_steps=3), dropout=0.1)
    resumed = trained(folder, replace(SETTINGS, save_steps=2, freeze_encoder_steps=3), dropout=0.1, begin=False)
    for name, value in weights(resumed).items():
        assert torch.equal(value, whole[name]), name
    steps = [json.loads(line)["step"] for line in (folder / "model.checkpoint" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6]


@pytest.mark.parametrize(("save_steps", "steps", "saved"), [(None, 6, [2, 4]), (None, 1, []), (0, 6, []), (4, 6, [4])])
def test_default_save_steps_depend_on_the_number_of_steps(
    save_steps: int | None, steps: int, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_saved = list[int]()
    monkeypatch.setattr("encloze.training.loop.save_checkpoint", lambda folder, step, *_: steps_saved.append(step))
    trained(tmp_path, replace(SETTINGS, save_steps=save_steps, steps=steps))
    assert steps_saved == saved


def test_non_finite_loss_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(EnclozeError, match="is infinite or NaN near step"):
        trained(tmp_path, replace(SETTINGS, learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.0))


def test_unfinished_run_is_not_replaced_or_resumed_with_other_settings(tmp_path: Path) -> None:
    state = RunState(tmp_path / "model")
    with pytest.raises(CheckpointError, match="no unfinished run of .* to resume"):
        state.prepare({"seed": 0}, resume=True, overwrite=False)
    state.prepare({"seed": 0, "training": {"steps": 5}}, resume=False, overwrite=False)
    assert not state.folder.exists()  # nothing is written before all checks
    state.open({"corpus": "a"})
    with pytest.raises(StorageError, match="contains an unfinished run. Resume it with --resume"):
        state.prepare({"seed": 0}, resume=False, overwrite=False)
    with pytest.raises(CheckpointError, match="training.steps was 5 and is now 6"):
        state.prepare({"seed": 0, "training": {"steps": 6}}, resume=True, overwrite=False)
    state.prepare({"seed": 0, "training": {"steps": 5}}, resume=True, overwrite=False)
    with pytest.raises(CheckpointError, match="started with a different corpus: the input files have changed"):
        state.open({"corpus": "b"})
    (tmp_path / "model").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        state.prepare({"seed": 0}, resume=False, overwrite=False)


def test_loss_spike_gives_one_warning() -> None:
    detector = LossSpikeDetector()
    for step, value in enumerate([9.0, 8.0, 7.0, 6.5, 6.0, 5.8]):
        detector.update("decoder", value, step)
    with pytest.warns(UserWarning, match=r"the loss 'decoder' jumped from about 6\.750 to 9\.000 near step 7"):
        detector.update("decoder", 9.0, 7)
    detector.update("decoder", 9.5, 8)  # the same spike
    detector.update("decoder", 6.0, 9)
    detector.update("encoder", 99.0, 9)  # too few values
    with pytest.warns(UserWarning, match="jumped"):
        detector.update("decoder", 12.0, 10)

"""The training loop: parts and processes add up to the whole, and a warm-up leaves the encoder as it is."""

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
from encloze.training.loop import Training, train
from encloze.training.plan import BatchPlan
from encloze.training.spikes import Spikes
from encloze.training.state import Unfinished

SETTINGS = Training(learning_rate=1e-3, steps=6, precision="float32", log_every=2, save_every=0)


def trained(folder: Path, settings: Training, *, dropout: float = 0.0, begin: bool = True) -> RetroMaeModule:
    """A tiny RetroMAE after a run over the toy texts."""
    tokenizer = toys.tokenizer()
    lengths, make_batch = toys.text_batches(tokenizer)
    torch.manual_seed(0)
    module = RetroMae().module(toys.backbone(tokenizer.size, dropout=dropout), tokenizer, "cls")
    state = Unfinished(folder / "model")
    if begin:
        state.begin({}, resume=False, overwrite=True)
    plan = BatchPlan(lengths, 0, batch_size=16)
    train(module, plan, make_batch, settings, state, 0, {"corpus": "toys"})
    return module  # type: ignore[return-value]


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def test_accumulation_gives_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    whole = weights(trained(tmp_path / "a", SETTINGS))
    parts = weights(trained(tmp_path / "b", replace(SETTINGS, accumulation=3)))
    more_parts_than_texts = weights(trained(tmp_path / "c", replace(SETTINGS, accumulation=20)))
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(value, more_parts_than_texts[name], atol=2e-4, rtol=1e-3)


def test_frozen_steps_leave_the_encoder_as_it_is_and_train_the_rest(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    torch.manual_seed(0)
    before = RetroMae().module(toys.backbone(tokenizer.size), tokenizer, "cls")
    after = trained(tmp_path, replace(SETTINGS, frozen_steps=6))
    frozen = {id(parameter) for parameter in after.encoder_parameters()}
    for (name, first), second in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(first, second) == (id(second) in frozen), name
    thawed = trained(tmp_path / "thawed", replace(SETTINGS, frozen_steps=3))
    first_layer = "backbone.model.bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights(before)[first_layer], weights(thawed)[first_layer])
    assert all(parameter.requires_grad for parameter in thawed.parameters())


def test_the_log_has_the_means_of_each_term(tmp_path: Path) -> None:
    trained(tmp_path, SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "model.unfinished" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(4 < line["encoder"] < 8 and 4 < line["decoder"] < 8 for line in lines)  # about log of 300 tokens
    assert lines[-1]["decoder"] < lines[0]["decoder"]
    assert all(0 <= line["decoder_right"] <= 1 for line in lines)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = weights(trained(tmp_path / "a", replace(SETTINGS, save_every=2, frozen_steps=3), dropout=0.1))
    folder = tmp_path / "b"

    class Stopped(Exception):
        """The process is gone."""

    def stop_after_second_checkpoint(self: Unfinished, step: int, module: Any, optimizer: Any) -> None:
        save(self, step, module, optimizer)
        if step == 4:
            raise Stopped

    save = Unfinished.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unfinished, "save", stop_after_second_checkpoint)
        with pytest.raises(Stopped):
            trained(folder, replace(SETTINGS, save_every=2, frozen_steps=3), dropout=0.1)
    resumed = trained(folder, replace(SETTINGS, save_every=2, frozen_steps=3), dropout=0.1, begin=False)
    for name, value in weights(resumed).items():
        assert torch.equal(value, whole[name]), name
    steps = [json.loads(line)["step"] for line in (folder / "model.unfinished" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6]


@pytest.mark.parametrize(("save_every", "steps", "saved"), [(None, 6, [2, 4]), (None, 1, []), (0, 6, []), (4, 6, [4])])
def test_checkpoints_are_made_in_short_runs_too(
    save_every: int | None, steps: int, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[int]()
    monkeypatch.setattr(Unfinished, "save", lambda self, step, module, optimizer: made.append(step))
    trained(tmp_path, replace(SETTINGS, save_every=save_every, steps=steps))
    assert made == saved


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(EnclozeError, match="is no number any more near step"):
        trained(tmp_path, replace(SETTINGS, learning_rate=1e30, clip=1e30, warmup_share=0.0))


def test_an_unfinished_run_is_neither_lost_nor_taken_for_another(tmp_path: Path) -> None:
    state = Unfinished(tmp_path / "model")
    with pytest.raises(CheckpointError, match="no unfinished training of .* to resume"):
        state.begin({"seed": 0}, resume=True, overwrite=False)
    state.begin({"seed": 0, "training": {"steps": 5}}, resume=False, overwrite=False)
    assert not state.folder.exists()  # nothing is written before all is checked
    state.open({"corpus": "a"})
    with pytest.raises(StorageError, match="holds an unfinished training. Go on with --resume"):
        state.begin({"seed": 0}, resume=False, overwrite=False)
    with pytest.raises(CheckpointError, match="training.steps was 5 and is 6"):
        state.begin({"seed": 0, "training": {"steps": 6}}, resume=True, overwrite=False)
    state.begin({"seed": 0, "training": {"steps": 5}}, resume=True, overwrite=False)
    with pytest.raises(CheckpointError, match="begun with another corpus: the files changed since"):
        state.open({"corpus": "b"})
    (tmp_path / "model").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        state.begin({"seed": 0}, resume=False, overwrite=False)


def test_a_loss_that_jumps_is_said_once_a_spike() -> None:
    spikes = Spikes()
    for step, value in enumerate([9.0, 8.0, 7.0, 6.5, 6.0, 5.8]):
        spikes.see("decoder", value, step)
    with pytest.warns(UserWarning, match=r"the loss 'decoder' jumped from about 6\.750 to 9\.000 near step 7"):
        spikes.see("decoder", 9.0, 7)
    spikes.see("decoder", 9.5, 8)  # the same spike
    spikes.see("decoder", 6.0, 9)
    spikes.see("encoder", 99.0, 9)  # too early to tell
    with pytest.warns(UserWarning, match="jumped"):
        spikes.see("decoder", 12.0, 10)

"""What test_two_processes.py starts: steps of a tiny RetroMAE, whose losses and gradients each process writes down."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import toys
from encloze.objectives.retromae import RetroMae
from encloze.training.loop import Training, _Loop
from encloze.training.plan import BatchPlan


def main(output: Path) -> None:
    tokenizer = toys.tokenizer()
    lengths, make_batch = toys.text_batches(tokenizer)
    torch.manual_seed(0)
    module = RetroMae().module(toys.backbone(tokenizer.size), tokenizer, "cls")
    loop = _Loop(module, make_batch, Training(precision="float32", clip=1e9, frozen_steps=1), 0, output)
    loop.freeze(True)
    loop.wrap()
    gradients: dict[str, torch.Tensor] = {}
    step = loop.optimizer.step

    def keep_and_step() -> None:
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.clone()
        step()

    loop.optimizer.step = keep_and_step  # type: ignore[method-assign, assignment]
    figures = []
    plan = BatchPlan(lengths, 0, batch_size=15)  # odd: shares differ
    for place in plan.from_step(0):
        if place.step == 3:
            break
        gradients.clear()
        loop.step(place, 10)
        figures.append(loop.figures(place.step + 1))
    if loop.accelerator.is_main_process:
        torch.save({"gradients": gradients, "weights": dict(module.state_dict())}, output / "tensors.pt")
        (output / "figures.json").write_text(json.dumps(figures))
    loop.accelerator.wait_for_everyone()
    loop.accelerator.end_training()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads sometimes abort when Python tidies up


if __name__ == "__main__":
    main(Path(sys.argv[1]))

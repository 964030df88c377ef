"""What test_two_processes.py starts: steps of every objective and of fine-tuning on a tiny BERT."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

import toys
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.losses.contrastive import Contrastive
from encloze.losses.flops import Flops
from encloze.losses.kl_divergence import KlDivergence
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import Card
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.models.trainable import Trainable
from encloze.objectives.base import Objective
from encloze.training.loop import Training, _Loop
from encloze.training.plan import BatchPlan
from encloze.training.retention import Retaining
from encloze.training.retrieval import RetrievalBatches, RetrievalModule
from encloze.training.texts import TextBatches

STEPS = 3


def pretraining(name: str, dataset: Path) -> Case:
    tokenizer, format_ = toys.tokenizer(), Format.named(str(dataset))
    objective = Objective.named(name)
    texts = TextBatches(format_, Corpus.open(format_), tokenizer, 64, objective.contexts(), 0)
    # Dropout differs from process to process; SimCSE, which wants some, gets too little to matter.
    backbone = toys.backbone(tokenizer.size, dropout=1e-9 if name == "simcse" else 0.0)
    torch.manual_seed(0)
    module: Trainable = objective.module(backbone, tokenizer, "cls")
    if name == "retromae":
        module = Retaining(module, 0.5, "mean")  # type: ignore[arg-type]
    frozen = int(name not in ("cropping", "simcse"))  # they have nothing but the encoder

    def make_batch(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        return texts(texts.usable[numbers], epoch, device)

    return Case(module, make_batch, texts.lengths, frozen)


def finetuning(name: str, dataset: Path) -> Case:
    """Both views, hard negatives, a teacher, prices on term weights."""
    tokenizer, data = toys.tokenizer(), DatasetSplit(Format.named(str(dataset)), "train")
    draw = np.random.default_rng(0)
    run = {query.id: {d: float(draw.random()) for d in data.corpus.ids} for query in data.queries}
    examples = [example for _, example in data.examples(run, 8, run)]
    torch.manual_seed(0)
    card = Card((Dense("mean", True, 8), Sparse(weight=0.1)), "", "", 32, 64)
    encoder = BiEncoder(toys.backbone(tokenizer.size), tokenizer, card)
    batches = RetrievalBatches(encoder, data.corpus, examples, negatives=2, seed=0)
    losses = (Contrastive(), KlDivergence(), Flops(active_terms=20), Flops(side="queries"))
    return Case(RetrievalModule(encoder, losses, batches.relevance), batches, batches.lengths, 0)


class Case(NamedTuple):
    """What is trained, and on what."""

    module: Trainable
    make_batch: Any
    lengths: np.ndarray
    frozen: int


def steps(name: str, dataset: Path, output: Path, accumulation: int) -> dict[str, Any]:
    """The figures of a few steps, the gradients of the last and the weights after it."""
    module, make_batch, lengths, frozen = (finetuning if name == "finetune" else pretraining)(name, dataset)
    settings = Training(precision="float32", clip=1e9, frozen_steps=frozen, accumulation=accumulation)
    loop = _Loop(module, make_batch, settings, 0, output)
    loop.freeze(bool(frozen))
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
    for place in BatchPlan(lengths, 0, batch_size=15).from_step(0):  # odd: shares differ
        if place.step == STEPS:
            break
        gradients.clear()
        loop.step(place, 10)
        figures.append(loop.figures(place.step + 1))
    if loop.accelerator.is_main_process:
        torch.save({"gradients": gradients, "weights": dict(module.state_dict())}, output / f"{name}.pt")
    return {"figures": figures, "main": loop.accelerator.is_main_process, "accelerator": loop.accelerator}


def main(dataset: Path, output: Path, accumulation: int) -> None:
    figures, done = {}, {}
    for name in (*Objective.members(), "finetune"):
        done = steps(name, dataset, output, accumulation)
        figures[name] = done["figures"]
    if done["main"]:
        (output / "figures.json").write_text(json.dumps(figures))
    done["accelerator"].wait_for_everyone()
    done["accelerator"].end_training()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads sometimes abort when Python tidies up


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

"""Script that test_two_processes.py launches: steps of every objective and of fine-tuning on a tiny BERT."""

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
from encloze.data.training_examples import training_examples
from encloze.losses.contrastive import Contrastive
from encloze.losses.flops import Flops
from encloze.losses.kl_divergence import KlDivergence
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.models.trainable import Trainable
from encloze.objectives.base import Objective
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.embedding_distillation import EmbeddingDistillation
from encloze.training.optimizer_step import OptimizerSteps
from encloze.training.pretraining_batches import PretrainingBatches
from encloze.training.retrieval import RetrievalModule
from encloze.training.retrieval_batches import RetrievalBatches

STEPS = 3
CASES = (*Objective.members(), "finetune")
KINDS = {"one_micro_batch": 1, "four_micro_batches": 4}


def pretraining(name: str, dataset: Path) -> Case:
    tokenizer, format_ = toys.tokenizer(), Format.from_name(str(dataset))
    objective = Objective.from_name(name)
    texts = PretrainingBatches(format_, Corpus.from_format(format_), tokenizer, 64, objective.pair_source(), 0)
    # Dropout differs between processes; SimCSE, which requires it, gets a negligible amount.
    backbone = toys.backbone(tokenizer.vocab_size, dropout=1e-9 if name == "simcse" else 0.0)
    torch.manual_seed(0)
    module: Trainable = objective.build_module(backbone, tokenizer, "cls")
    if name == "retromae":
        module = EmbeddingDistillation(module, 0.5, "mean")  # type: ignore[arg-type]
    frozen = int(name not in ("cropping", "simcse"))  # their only parameters are the encoder's

    def make_batch(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        return texts(texts.usable[numbers], epoch, device)

    return Case(module, make_batch, texts.lengths, frozen)


def finetuning(name: str, dataset: Path) -> Case:
    """Both views, hard negatives, a teacher, regularized term weights."""
    tokenizer, data = toys.tokenizer(), DatasetSplit(Format.from_name(str(dataset)), "train")
    draw = np.random.default_rng(0)
    run = {query.id: {d: float(draw.random()) for d in data.corpus.ids} for query in data.queries}
    examples = [example for _, example in training_examples(data, run, 8, run)]
    torch.manual_seed(0)
    card = EncoderConfig((Dense("mean", True, 8), Sparse(weight=0.1)), "", "", 32, 64)
    encoder = BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, card)
    batches = RetrievalBatches(encoder, data.corpus, examples, negatives=2, seed=0)
    losses = (Contrastive(), KlDivergence(), Flops(target_active_dims=20), Flops(side="queries"))
    return Case(RetrievalModule(encoder, losses, batches.relevance), batches, batches.lengths, 0)


class Case(NamedTuple):
    """A module, its batches, and the number of frozen steps."""

    module: Trainable
    make_batch: Any
    lengths: np.ndarray
    frozen: int


def steps(name: str, dataset: Path, output: Path, micro_batches: int) -> dict[str, Any]:
    """Run a few steps; return the metrics, and save the gradients of the last step and the weights."""
    module, make_batch, lengths, frozen = (finetuning if name == "finetune" else pretraining)(name, dataset)
    settings = TrainingArguments(
        precision="float32", max_grad_norm=1e9, freeze_encoder_steps=frozen, micro_batches=micro_batches
    )
    runner = OptimizerSteps(module, make_batch, settings, 0, total_steps=10, tracker_folder=output)
    runner.freeze_encoder(bool(frozen))
    runner.wrap_distributed()
    gradients: dict[str, torch.Tensor] = {}
    optimizer_step = runner.optimizer.step

    def keep_and_step() -> None:
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.clone()
        optimizer_step()

    runner.optimizer.step = keep_and_step  # type: ignore[method-assign, assignment]
    metrics = []
    for step in LengthGroupedPlan(lengths, 0, batch_size=15).from_step(
        0
    ):  # odd, so that processes have different shares
        if step.number == STEPS:
            break
        gradients.clear()
        runner.run(step)
        metrics.append(runner.metrics.compute())
        runner.metrics.reset()
    if runner.accelerator.is_main_process:
        torch.save({"gradients": gradients, "weights": dict(module.state_dict())}, output / f"{name}.pt")
    return {"metrics": metrics, "accelerator": runner.accelerator}


def main(dataset: Path, output: Path) -> None:
    """Run all cases with one micro-batch and with four, and write their metrics."""
    accelerator = None
    for kind, micro_batches in KINDS.items():
        metrics = {}
        for name in CASES:
            result = steps(name, dataset, output / kind, micro_batches)
            metrics[name], accelerator = result["metrics"], result["accelerator"]
        if accelerator.is_main_process:
            (output / kind / "metrics.json").write_text(json.dumps(metrics))
    assert accelerator is not None
    accelerator.wait_for_everyone()
    accelerator.end_training()
    sys.stdout.flush()
    os._exit(0)  # threads of gloo sometimes abort at interpreter shutdown


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

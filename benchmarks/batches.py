"""Time fine-tuning steps with random batches and with batches of similar length, interleaved in one process.

    python benchmarks/batches.py --root DATA --datasets medquad squad --output benchmarks/results/batches.json

Documents of random batches are encoded in parts of similar length. ``pass_cost`` is the assumed cost of each part in
tokens: with a very high value, all documents are encoded in one part. Times are CPU times.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.training_examples import training_examples
from encloze.losses.contrastive import Contrastive
from encloze.models.bi_encoder import BiEncoder
from encloze.storage.json_files import write_json
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import BatchPlan, LengthGroupedPlan
from encloze.training.optimizer_step import OptimizerSteps
from encloze.training.random_batches import RandomPlan
from encloze.training.retrieval import RetrievalModule
from encloze.training.retrieval_batches import RetrievalBatches

BATCH_SIZE, ONE_PART = 32, 10**9
PASS_COST = "encloze.training.retrieval_batches._PASS_COST"


def measure(dataset: Path, max_tokens: int, steps: int, pass_costs: list[int]) -> dict[str, float]:
    """Return the mean CPU seconds of a step for each kind of batch."""
    data = DatasetSplit(Format.from_name(str(dataset)), "train")
    examples = [example for _, example in training_examples(data)]
    encoder = BiEncoder.load("minilm", device="cpu")
    encoder.config = encoder.config.__class__(
        **{**vars(encoder.config), "max_query_tokens": max_tokens, "max_document_tokens": max_tokens}
    )
    batches = RetrievalBatches(encoder, data.corpus, examples, negatives=0, seed=0)
    module = RetrievalModule(encoder, (Contrastive(),), batches.relevance)
    arguments = TrainingArguments(learning_rate=1e-6, save_steps=0)
    runner = OptimizerSteps(module, batches, arguments, 0, steps, Path("unused"))
    grouped = LengthGroupedPlan(batches.lengths, 0, batch_size=BATCH_SIZE)
    random = RandomPlan(batches.lengths, 0, BATCH_SIZE, batches.relevance)
    kinds: dict[str, tuple[BatchPlan, int]] = {"length_grouped": (grouped, ONE_PART)}
    kinds |= {f"random, pass_cost {cost}": (random, cost) for cost in pass_costs}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(steps + 1):
        for kind, (plan, cost) in kinds.items():
            step = next(plan.from_step(number))
            with mock.patch(PASS_COST, cost):
                start = time.process_time()
                runner.run(step)
                seconds[kind].append(time.process_time() - start)
    return {kind: float(np.mean(values[1:])) for kind, values in seconds.items()}  # the first step warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["medquad", "insuranceqa", "squad"])
    parser.add_argument("--max_tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--pass_costs", type=int, nargs="+", default=[16, 64, 256, ONE_PART])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    results = {}
    for name in arguments.datasets:
        seconds = measure(arguments.root / name, arguments.max_tokens, arguments.steps, arguments.pass_costs)
        results[name] = seconds
        base = seconds["length_grouped"]
        print(name, {kind: f"{value:.3f} s, {value / base:.3f}" for kind, value in seconds.items()}, flush=True)
    write_json(arguments.output, {"threads": torch.get_num_threads(), "CPU seconds per step": results})


if __name__ == "__main__":
    main()

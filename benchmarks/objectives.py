"""Compare the duration of a training step of each pre-training objective with masked language modeling.

    python benchmarks/objectives.py

All objectives are measured in one run on the same tokens. Prints the machine, versions, median seconds and their
ratios, and saves them in benchmarks/results.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path

import torch

from encloze.models.allocator import keep_freed_memory
from encloze.models.layers.masking import TokenBatch
from encloze.models.origins.base import Origin
from encloze.models.precision import autocast
from encloze.models.pretraining_module import PretrainingModule
from encloze.objectives.base import Objective

ROUNDS, NUM_TEXTS, LENGTH = 5, 32, 128


def measure_step(module: PretrainingModule, optimizer: torch.optim.Optimizer, batch: TokenBatch) -> float:
    """Return the seconds of one training step."""
    start = time.perf_counter()
    sample = module.sample(batch)
    with autocast("auto", torch.device("cpu")):
        sums, embeddings = module(sample)
    if embeddings:
        sums = sums | module.global_losses(embeddings)
    counts = sample.counts()
    loss = torch.stack([weight * sums[term] / counts[term] for term, weight in module.loss_weights.items()]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - start


def cpu_model() -> str:
    """Return the name of the CPU, on Linux."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in lines if "model name" in line), ": unknown").partition(": ")[2]


def main() -> None:
    keep_freed_memory()
    words = torch.arange(-1, LENGTH - 1).expand(NUM_TEXTS, -1).clone()
    words[:, -1] = -1
    ids, numbers = torch.randint(1000, 30000, (NUM_TEXTS, LENGTH)), torch.arange(NUM_TEXTS)
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), words, numbers, numbers)
    modules = {}
    for name in Objective.members():
        initial = Origin.from_name("minilm").load(lambda: iter(()), require_mlm_head=True, seed=0)
        module = Objective.from_name(name).build_module(initial.backbone, initial.tokenizer, "cls").train()
        modules[name] = (module, torch.optim.AdamW(module.parameters(), 1e-4))
    durations: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(ROUNDS + 1):  # objectives alternate, because the speed of a machine drifts
        for name, (module, optimizer) in modules.items():
            durations[name].append(measure_step(module, optimizer, batch))
    medians = {name: statistics.median(seconds[1:]) for name, seconds in durations.items()}
    result = {
        "machine": cpu_model(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "step": f"all-MiniLM-L6-v2, {NUM_TEXTS} texts of {LENGTH} tokens; pairs: {NUM_TEXTS // 2} texts with contexts",
        "median seconds": {name: round(seconds, 3) for name, seconds in medians.items()},
        "ratio to mlm": {name: round(seconds / medians["mlm"], 2) for name, seconds in medians.items()},
    }
    print(json.dumps(result, indent=2))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "objectives.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

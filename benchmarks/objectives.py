"""What a step of each objective costs beside one of masked language modelling, on the same tokens, in one run.

    python benchmarks/objectives.py

Prints the machine, the versions, the median seconds and their ratios; writes them to benchmarks/results/.
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

ROUNDS, TEXTS, LENGTH = 5, 32, 128


def step(module: PretrainingModule, optimizer: torch.optim.Optimizer, batch: TokenBatch) -> float:
    """The seconds of one step."""
    began = time.perf_counter()
    drawn = module.sample(batch)
    with autocast("auto", torch.device("cpu")):
        sums, embeddings = module(drawn)
    if embeddings:
        sums = sums | module.global_losses(embeddings)
    counts = drawn.counts()
    loss = torch.stack([weight * sums[term] / counts[term] for term, weight in module.loss_weights.items()]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - began


def main() -> None:
    keep_freed_memory()
    words = torch.arange(-1, LENGTH - 1).expand(TEXTS, -1).clone()
    words[:, -1] = -1
    ids = torch.randint(1000, 30000, (TEXTS, LENGTH))
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), words, torch.arange(TEXTS), torch.arange(TEXTS))
    runs = {}
    for name in Objective.members():
        start = Origin.from_name("minilm").load(lambda: iter(()), require_mlm_head=True, seed=0)
        module = Objective.from_name(name).build_module(start.backbone, start.tokenizer, "cls").train()
        runs[name] = (module, torch.optim.AdamW(module.parameters(), 1e-4))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):  # in turn, since the machine's speed drifts
        for name, (module, optimizer) in runs.items():
            taken[name].append(step(module, optimizer, batch))
    medians = {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    result = {
        "machine": model.partition(": ")[2],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "step": f"all-MiniLM-L6-v2, {TEXTS} texts of {LENGTH} tokens; pairs are {TEXTS // 2} texts and their contexts",
        "median seconds": {name: round(seconds, 3) for name, seconds in medians.items()},
        "times mlm": {name: round(seconds / medians["mlm"], 2) for name, seconds in medians.items()},
    }
    print(json.dumps(result, indent=2))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "objectives.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

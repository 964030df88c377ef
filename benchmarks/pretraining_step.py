"""Measure a RetroMAE step of MiniLM, with and without keeping freed memory in the allocator.

    python benchmarks/pretraining_step.py

Both variants are measured in alternation. Prints the machine, versions, median seconds and their ratio, and saves them
in benchmarks/results.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, STEPS = 3, 4
NUM_TEXTS, LENGTH = 32, 128
VARIANTS = ("released", "kept")  # what happens to freed memory


def measure_steps(keep: bool) -> list[float]:
    """Return the seconds of each step after the first, in this process."""
    import torch

    from encloze.models.allocator import keep_freed_memory
    from encloze.models.layers.masking import TokenBatch
    from encloze.models.origins.base import Origin
    from encloze.models.precision import autocast
    from encloze.objectives.retromae import RetroMae

    if keep:
        keep_freed_memory()
    initial = Origin.from_name("minilm").load(lambda: iter(()), require_mlm_head=True, seed=0)
    module = RetroMae().build_module(initial.backbone, initial.tokenizer, "mean").train()
    words = torch.arange(-1, LENGTH - 1).expand(NUM_TEXTS, -1).clone()
    words[:, -1] = -1
    ids, numbers = torch.randint(1000, 30000, (NUM_TEXTS, LENGTH)), torch.arange(NUM_TEXTS)
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), words, numbers, numbers)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-4)
    durations = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        sample = module.sample(batch)
        with autocast("auto", torch.device("cpu")):
            sums = module(sample).sums
        ((sums["encoder"] + sums["decoder"]) / ids.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
        durations.append(time.perf_counter() - start)
    return durations[1:]


def main() -> None:
    import torch

    durations: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):  # variants alternate, because the speed of a machine drifts
        for name in VARIANTS:
            process = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
            durations[name] += json.loads(process.stdout.splitlines()[-1])
    medians = {name: statistics.median(values) for name, values in durations.items()}
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    result = {
        "machine": model.partition(": ")[2],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "step": f"RetroMAE, all-MiniLM-L6-v2, {NUM_TEXTS} texts of {LENGTH} tokens",
        "median seconds": {name: round(value, 3) for name, value in medians.items()},
        "ratio released / kept": round(medians["released"] / medians["kept"], 2),
    }
    print(json.dumps(result, indent=2))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "pretraining_step.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure_steps(sys.argv[1] == "kept")))
    else:
        main()

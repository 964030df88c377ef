"""How long a RetroMAE step of MiniLM takes, and what keeping buffers saves: both in one run, in turn.

    python benchmarks/pretraining_step.py

Prints the machine, the versions, the medians and their ratio; writes them to benchmarks/results/.
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
BATCH, LENGTH = 32, 128


def seconds(keep: bool) -> list[float]:
    """The seconds of each step after the first, in this process."""
    import torch

    from encloze.models.allocator import keep_freed_memory
    from encloze.models.layers.masking import TokenBatch
    from encloze.models.origins.base import Origin
    from encloze.models.precision import autocast
    from encloze.objectives.retromae import RetroMae

    if keep:
        keep_freed_memory()
    start = Origin.from_name("minilm").load(lambda: iter(()), require_mlm_head=True, seed=0)
    module = RetroMae().build_module(start.backbone, start.tokenizer, "mean").train()
    words = torch.arange(-1, LENGTH - 1).expand(BATCH, -1).clone()
    words[:, -1] = -1
    ids = torch.randint(1000, 30000, (BATCH, LENGTH))
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), words, torch.arange(BATCH), torch.arange(BATCH))
    optimizer = torch.optim.AdamW(module.parameters(), 1e-4)
    taken = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        drawn = module.sample(batch)
        with autocast("auto", torch.device("cpu")):
            sums = module(drawn).sums
        ((sums["encoder"] + sums["decoder"]) / ids.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - began)
    return taken[1:]


def main() -> None:
    taken: dict[str, list[float]] = {"given back": [], "kept": []}
    for _ in range(ROUNDS):  # in turn, since the machine's speed drifts
        for name in taken:
            done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
            taken[name] += json.loads(done.stdout.splitlines()[-1])
    medians = {name: statistics.median(values) for name, values in taken.items()}
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    import torch

    result = {
        "machine": model.partition(": ")[2],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "step": f"RetroMAE, all-MiniLM-L6-v2, {BATCH} texts of {LENGTH} tokens",
        "median seconds": {name: round(value, 3) for name, value in medians.items()},
        "ratio given back / kept": round(medians["given back"] / medians["kept"], 2),
    }
    print(json.dumps(result, indent=2))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "pretraining_step.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(seconds(sys.argv[1] == "kept")))
    else:
        main()

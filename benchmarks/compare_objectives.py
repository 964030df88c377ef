"""Every objective from one start, for the same minutes each: what the monitors see, as one table.

    python benchmarks/compare_objectives.py --corpus docs-cpp --output compared --start_minutes 30 --minutes 20

A `mini` encoder is begun with masked language modelling; each objective goes on from it. A run that was killed goes on
where it stopped: what is finished is not run again. The table goes to the screen and to OUTPUT/table.md.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from encloze import Format
from encloze.models.origins.base import Origin
from encloze.objectives.base import Objective
from encloze.objectives.mlm import Mlm
from encloze.tasks.pretrain import Pretrain
from encloze.training.loop import Training
from encloze.training.monitors.base import Monitor
from encloze.training.monitors.bottleneck import Bottleneck
from encloze.training.watching import Watching

PILOT_STEPS = 12
MONITORS = ("held_out", "embeddings", "retrieval")


def run(corpus: Path, start: str, objective: Objective, output: Path, minutes: float, texts: int, rate: float) -> None:
    """Pre-train for about so many minutes of steps, the monitors' time not counted; the steps are kept in a file."""
    if output.exists():
        return
    settings = Pretrain(
        Format.named(str(corpus)),
        Origin.named(start),
        objective,
        output,
        max_tokens=128,
        batch_tokens=8192,
        training=Training(learning_rate=rate, save_every=100),
        monitors=(*(Monitor.named(name) for name in MONITORS), Bottleneck(texts=texts)),
        watching=Watching(looks=2, held_out=texts),
    )
    plan = output.with_name(f"{output.name}.steps.json")
    if not plan.exists():
        pilot = output.with_name(f"{output.name}.pilot")
        training = replace(settings.training, steps=PILOT_STEPS, log_every=PILOT_STEPS // 2, save_every=0)
        replace(settings, output=pilot, training=training, monitors=(), overwrite=True).run()
        seconds = json.loads((pilot / "log.jsonl").read_text().splitlines()[-1])["seconds"] / (PILOT_STEPS // 2)
        plan.write_text(json.dumps({"steps": round(60 * minutes / seconds), "seconds a step": seconds}))
    steps = json.loads(plan.read_text())["steps"]
    unfinished = output.with_name(f"{output.name}.unfinished").exists()
    replace(settings, training=replace(settings.training, steps=steps), resume=unfinished).run()


def row(folder: Path) -> dict[str, Any]:
    """The last look of a run, and the retrieval of its first."""
    looks = [json.loads(line) for line in (folder / "monitors.jsonl").read_text().splitlines()]
    return {"first": looks[0], "last": looks[-1]}


def table(folders: dict[str, Path]) -> str:
    """Objectives with raw and head-start nDCG@10, and each decoder's own and shuffled loss."""
    lines = ["| run | steps | raw | head start | decoder: own / shuffled, gap [99 %] |", "|---|---|---|---|---|"]
    for name, folder in folders.items():
        found = row(folder)
        if name == "start":
            first = found["first"]
            lines.append(f"| untrained | 0 | {first['retrieval.raw']:.4f} | {first['retrieval.head_start']:.4f} | |")
        last = found["last"]
        gaps = [
            f"{term}: {last[f'bottleneck.{term}_own']:.3f} / {last[f'bottleneck.{term}_shuffled']:.3f}, "
            f"{last[f'bottleneck.{term}_gap']:+.3f} [{last[f'bottleneck.{term}_gap_low']:+.3f}, "
            f"{last[f'bottleneck.{term}_gap_high']:+.3f}]"
            for term in sorted(key[11:-4] for key in last if key.startswith("bottleneck.") and key.endswith("_own"))
        ]
        raw, head_start = last["retrieval.raw"], last["retrieval.head_start"]
        lines.append(f"| {name} | {last['step']} | {raw:.4f} | {head_start:.4f} | {'; '.join(gaps)} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--corpus", type=Path, required=True)
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--start_minutes", type=float, default=30)
    arguments.add_argument("--minutes", type=float, default=20)
    arguments.add_argument("--texts", type=int, default=1000)
    arguments.add_argument("--start_rate", type=float, default=1e-3)
    arguments.add_argument("--rate", type=float, default=3e-4)
    arguments.add_argument("--objectives", nargs="*", default=Objective.members())
    given = arguments.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    folders = {"start": given.output / "start"}
    mlm = Mlm(encoder_mask_rate=0.30)
    run(given.corpus, "scratch", mlm, folders["start"], given.start_minutes, given.texts, given.start_rate)
    for name in given.objectives:
        began, folders[name] = time.monotonic(), given.output / name
        objective = mlm if name == "mlm" else Objective.named(name)
        run(given.corpus, str(folders["start"]), objective, folders[name], given.minutes, given.texts, given.rate)
        print(f"{name}: {(time.monotonic() - began) / 60:.1f} min", flush=True)
        (given.output / "table.md").write_text(table(folders) + "\n")
    print(table(folders))


if __name__ == "__main__":
    main()

"""Every objective from one start, for the same minutes each, and how well each then finds: one table.

    python benchmarks/compare_objectives.py --corpus docs-cpp --output compared

A `mini` encoder is begun with masked language modelling; every run goes on from it for as many steps as take the given
minutes, as a few steps before it tell. What is done is not done again, and a run that was killed goes on from its last
checkpoint. Several of these scripts may work side by side in one folder with different --runs, each with its --threads.
What each run came to is kept in --results, a small file a run, so that a table may grow over several sittings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encloze import recipe
from encloze.commands.pretrain import Prepared, Pretrain
from encloze.evaluation.significance import bootstrap
from encloze.models.allocator import keep_freed_memory
from encloze.models.precision import autocast
from encloze.objectives.base import Objective
from encloze.storage.hashes import hash_file
from encloze.training.monitors.bottleneck import Bottleneck
from encloze.training.monitors.retrieval import Retrieval

HELD_OUT, TEXTS = 1200, 1000
PILOT_STEPS = 7
SHARED: dict[str, Any] = {
    "max_tokens": 128,
    "batch_tokens": 8192,
    "monitors": ["held_out"],
    "watching": {"held_out": HELD_OUT, "looks": 1},
}
RATE = 3e-4
START: dict[str, Any] = {
    "model": {"type": "scratch", "tokenizer": {"vocab_size": 8192}},
    "objective": {"type": "mlm", "encoder_mask_rate": 0.30},
    "training": {"learning_rate": 1e-3},
}
# New decoders are far from trained after so few steps: they may learn faster than the encoder, or before it.
FAST: dict[str, Any] = {"learning_rate": 2e-3, "encoder_learning_rate": RATE}
# A decoder that sees few words beside the embedding, and a head that gets less from an early layer, need it sooner.
NEEDY: dict[str, dict[str, Any]] = {
    **{f"{name}-holes": {"type": name, "decoder_mask_rate": 0.90} for name in ("cotmae", "cotmae_v2", "lexmae")},
    "condenser-early": {"type": "condenser", "early_layer": 1, "encoder_mask_rate": 0.30},
    "cocondenser-early": {"type": "cocondenser", "early_layer": 1, "encoder_mask_rate": 0.30, "context": "near"},
}
# A run is its objective with settings, and the training's; an end to its name tells how it differs from the plain one.
RUNS: dict[str, dict[str, Any]] = {
    "mlm": {"objective": START["objective"]},
    **{name: {"objective": {"type": name}} for name in Objective.members() if name != "mlm"},
    **{
        f"{name}-fast": {"objective": {"type": name}, "training": FAST}
        for name in ("retromae", "dupmae", "cotmae", "cotmae_v2", "lexmae", "condenser", "cocondenser")
    },
    **{
        f"{name}-later": {"objective": {"type": name}, "training": {**FAST, "freeze_encoder_steps": 60}}
        for name in ("retromae", "cotmae")
    },
    **{name: {"objective": objective} for name, objective in NEEDY.items()},
    **{f"{name}-fast": {"objective": objective, "training": FAST} for name, objective in NEEDY.items()},
    **{f"{name}-mean": {"objective": {"type": name, "bottleneck": "mean"}} for name in ("retromae", "cotmae", "bow")},
    **{f"cotmae-{context}": {"objective": {"type": "cotmae", "context": context}} for context in ("near", "random")},
    **{f"{name}-mean": {"objective": {"type": name, "pooling": "mean"}} for name in ("cropping", "simcse")},
    "simcse-warm": {"objective": {"type": "simcse", "temperature": 0.2}},  # so that what is easy still weighs
}
BEFORE = ("untrained", "start")  # what is judged beside the runs
POOLINGS = ("cls", "mean")


def settings(output: Path, corpus: Path, run: dict[str, Any], **more: Any) -> Pretrain:
    """A pre-training run, from the settings that all share and its own."""
    tree = {**SHARED, "corpus": str(corpus), "output": str(output), **run, **more}
    tree["training"] = {"learning_rate": RATE, "save_steps": 100, **run.get("training", {}), **more.get("training", {})}
    made: Pretrain = recipe.build(Pretrain, tree, source=output.name)
    return made


def train(output: Path, corpus: Path, run: dict[str, Any], steps: int, **more: Any) -> None:
    """Run it, or go on with it, unless it is done."""
    if not output.exists():
        resume = output.with_name(f"{output.name}.checkpoint").exists()
        settings(output, corpus, run, training={"steps": steps}, resume=resume, **more).run()


def seconds_a_step(made: Prepared) -> float:
    """The median over some steps of training, the first ones left out."""
    module, taken = made.module.train(), []
    optimizer, place = torch.optim.AdamW(module.parameters(), 1e-6), torch.device("cpu")
    for batch in made.plan.epoch(0)[:PILOT_STEPS]:
        began = time.perf_counter()
        drawn = module.sample(made.material.make_batch(made.material.learnt[batch], 0, place))
        with autocast("auto", place):
            sums, embeddings = module(drawn)
        if embeddings:
            sums = sums | module.global_losses(embeddings)
        counts = drawn.counts()
        loss = torch.stack([weight * sums[term] / counts[term] for term, weight in module.loss_weights.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def judge(model: Any, output: Path, corpus: Path, run: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 of finding a neighbour, query by query, and each decoder's loss with its own and with another's view."""
    made = settings(output, corpus, run, model=model).prepare()
    found: dict[str, Any] = {}
    for pooling in POOLINGS:
        task = Retrieval(
            task="neighbours",
            queries=HELD_OUT,
            documents=3000,
            max_tokens=SHARED["max_tokens"],
            pooling=pooling,  # type: ignore[arg-type]
            finetuning_steps=60,
            finetuning_learning_rate=3e-4,
        )
        sought = task.search(made.material)
        for kind, values in task.by_query(made.module, sought, made.material).items():
            found[f"{kind} {pooling}"] = "".join(f"{rank:X}" for rank in ranks(values))
    found["bottleneck"] = Bottleneck(texts=TEXTS).probe(made.material)(made.module)
    return found


def ranks(values: np.ndarray) -> list[int]:
    """Where the one right text stood, from 1 to 10, or 0: what nDCG@10 tells of it."""
    there = np.maximum(values, 1e-9)
    found: list[int] = np.where(values > 0, np.rint(2 ** (1 / there.clip(min=0.1)) - 1), 0).astype(int).tolist()
    return found


def ndcg(digits: str) -> np.ndarray:
    """nDCG@10 of each query, of the rank of its one right text, a digit each."""
    found = np.array([int(digit, 16) for digit in digits])
    return np.where(found > 0, 1 / np.log2(1 + np.maximum(found, 1)), 0.0)


def table(results: Path) -> str:
    """What each run came to: means, their differences from more masked language modelling, and the decoders' gaps."""
    runs = {file.stem: json.loads(file.read_text()) for file in results.glob("*.json")}
    known = [name for name in (*BEFORE, *RUNS) if name in runs]
    columns = [f"{kind} {pooling}" for pooling in POOLINGS for kind in ("raw", "head_start")]
    lines = ["| run | steps | " + " | ".join(columns) + " | decoder's loss: own, another's, gap [99 %] |"]
    lines.append("|---" * (3 + len(columns)) + "|")
    for name in known:
        run, cells = runs[name], []
        for column in columns:
            values = ndcg(run[column])
            cell = f"{values.mean():.3f}"
            if name in RUNS and name != "mlm" and "mlm" in runs:
                gap = bootstrap(values - ndcg(runs["mlm"][column]))
                cell += f" ({gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}])"
            cells.append(cell)
        looks = run["bottleneck"]
        gaps = [
            f"{term}: {looks[f'{term}_own']:.3f}, {looks[f'{term}_shuffled']:.3f}, {looks[f'{term}_gap']:+.4f} "
            f"[{looks[f'{term}_gap_low']:+.4f}, {looks[f'{term}_gap_high']:+.4f}]"
            for term in sorted(key.removesuffix("_own") for key in looks if key.endswith("_own"))
        ]
        lines.append(f"| {name} | {run['steps']} | {' | '.join(cells)} | {'; '.join(gaps)} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--corpus", type=Path, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="model folders; large")
    arguments.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "compared_objectives")
    arguments.add_argument("--start_minutes", type=float, default=30)
    arguments.add_argument("--start_steps", type=int, help="steps of the start, in place of its minutes")
    arguments.add_argument("--minutes", type=float, default=20)
    every = [*BEFORE, *RUNS]
    arguments.add_argument("--runs", nargs="*", default=every, choices=every)
    arguments.add_argument("--threads", type=int, help="by default as many as torch takes")
    given = arguments.parse_args()
    keep_freed_memory()
    given.output.mkdir(parents=True, exist_ok=True)
    given.results.mkdir(parents=True, exist_ok=True)
    if given.threads:
        torch.set_num_threads(given.threads)
    start = given.output / "start"

    def steps(name: str, run: dict[str, Any], minutes: float, model: Any) -> int:
        file = given.output / f"{name}.seconds"
        if not file.exists():
            file.write_text(str(seconds_a_step(settings(start, given.corpus, run, model=model).prepare())))
        return round(60 * minutes / float(file.read_text()))

    def keep(name: str, model: Any, run: dict[str, Any]) -> None:
        file, folder = given.results / f"{name}.json", given.output / name
        if not file.exists():
            log = folder / "log.jsonl"
            done = json.loads(log.read_text().splitlines()[-1])["step"] if log.exists() else 0
            from_ = hash_file(start / "model.safetensors")[:16]
            found = {"steps": done, "start": from_, **judge(model, folder, given.corpus, run)}
            file.write_text(json.dumps(found, indent=1) + "\n")

    if not start.exists():
        begun = given.start_steps or steps("start", START, given.start_minutes, START["model"])
        train(start, given.corpus, START, begun)
    for name in given.runs:
        began, folder = time.monotonic(), given.output / name
        if name in BEFORE:
            keep(name, START["model"] if name == "untrained" else str(start), START)
            continue
        planned = steps(name, RUNS[name], given.minutes, str(start))
        train(folder, given.corpus, RUNS[name], planned, model=str(start))
        keep(name, str(folder), RUNS[name])
        print(f"{name}: {(time.monotonic() - began) / 60:.1f} min", flush=True)
    print(table(given.results))


if __name__ == "__main__":
    main()

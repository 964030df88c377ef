"""Compare pre-training objectives: retrieval quality after equal training time, from one common start.

    python benchmarks/compare_objectives.py --corpus docs-cpp --output compared

A `mini` encoder is first trained with masked language modeling. Every run continues from it for the number of steps
that take the given minutes, as measured on a few pilot steps. Completed runs are skipped, and a killed run resumes from
its last checkpoint. Several of these scripts can work in one folder at the same time, with different --runs and
--threads. The results of each run are kept in --results, one small file per run, so a table can be completed later.
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
from encloze.commands.pretrain import PreparedPretraining, Pretrain
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
    "validation": {"max_texts": HELD_OUT, "evaluations": 1},
}
RATE = 3e-4
START: dict[str, Any] = {
    "model": {"type": "scratch", "tokenizer": {"vocab_size": 8192}},
    "objective": {"type": "mlm", "encoder_mask_rate": 0.30},
    "training": {"learning_rate": 1e-3},
}
# New decoders are not converged after a few hundred steps: they get a higher learning rate, or are trained first.
FAST: dict[str, Any] = {"learning_rate": 2e-3, "encoder_learning_rate": RATE}
# A decoder with a high mask rate, or a head on an earlier layer, depends more on the embedding.
NEEDY: dict[str, dict[str, Any]] = {
    **{f"{name}-masked90": {"type": name, "decoder_mask_rate": 0.90} for name in ("cotmae", "cotmae_v2", "lexmae")},
    "condenser-early": {"type": "condenser", "early_layer": 1, "encoder_mask_rate": 0.30},
    "cocondenser-early": {"type": "cocondenser", "early_layer": 1, "encoder_mask_rate": 0.30, "context": "near"},
}
# Settings of objective and training by run; the suffix of the name is the difference from the defaults.
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
    "simcse-warm": {
        "objective": {"type": "simcse", "temperature": 0.2}
    },  # a higher temperature keeps easy pairs relevant
}
BEFORE = ("untrained", "start")  # models that are evaluated in addition to the runs
POOLINGS = ("cls", "mean")


def settings(output: Path, corpus: Path, run: dict[str, Any], **more: Any) -> Pretrain:
    """Return the pre-training command of a run."""
    tree = {**SHARED, "corpus": str(corpus), "output": str(output), **run, **more}
    tree["training"] = {"learning_rate": RATE, "save_steps": 100, **run.get("training", {}), **more.get("training", {})}
    command: Pretrain = recipe.build(Pretrain, tree, source=output.name)
    return command


def train(output: Path, corpus: Path, run: dict[str, Any], steps: int, **more: Any) -> None:
    """Run or resume a pre-training, unless it is complete."""
    if not output.exists():
        resume = output.with_name(f"{output.name}.checkpoint").exists()
        settings(output, corpus, run, training={"steps": steps}, resume=resume, **more).run()


def seconds_per_step(prepared: PreparedPretraining) -> float:
    """Return the median time of some training steps, without the first two."""
    module, durations = prepared.module.train(), []
    optimizer, device = torch.optim.AdamW(module.parameters(), 1e-6), torch.device("cpu")
    for batch in prepared.plan.epoch(0)[:PILOT_STEPS]:
        start = time.perf_counter()
        sampled = module.sample(prepared.data.make_batch(prepared.data.training[batch], 0, device))
        with autocast("auto", device):
            sums, embeddings = module(sampled)
        if embeddings:
            sums = sums | module.global_losses(embeddings)
        counts = sampled.counts()
        loss = torch.stack([weight * sums[term] / counts[term] for term, weight in module.loss_weights.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[2:])


def evaluate(model: Any, output: Path, corpus: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Return nDCG@10 of retrieving a neighbor for each query, and the metrics of the bottleneck."""
    prepared = settings(output, corpus, run, model=model).prepare()
    results: dict[str, Any] = {}
    for pooling in POOLINGS:
        monitor = Retrieval(
            task="neighbors",
            queries=HELD_OUT,
            documents=3000,
            max_tokens=SHARED["max_tokens"],
            pooling=pooling,  # type: ignore[arg-type]
            finetuning_steps=60,
            finetuning_learning_rate=3e-4,
        )
        task = monitor.build_task(prepared.data)
        for metric, values in monitor.evaluate(prepared.module, task, prepared.data).items():
            results[f"{metric} {pooling}"] = "".join(f"{rank:X}" for rank in ranks(values))
    results["bottleneck"] = Bottleneck(texts=TEXTS).build(prepared.data)(prepared.module)
    return results


def ranks(values: np.ndarray) -> list[int]:
    """Return the rank of the only relevant text, from 1 to 10, computed from nDCG@10; 0 if it is lower."""
    positive = np.maximum(values, 1e-9)
    result: list[int] = np.where(values > 0, np.rint(2 ** (1 / positive.clip(min=0.1)) - 1), 0).astype(int).tolist()
    return result


def ndcg(digits: str) -> np.ndarray:
    """Return nDCG@10 of each query from the rank of its only relevant text, one hexadecimal digit each."""
    ranks = np.array([int(digit, 16) for digit in digits])
    return np.where(ranks > 0, 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)


def table(results: Path) -> str:
    """Return a Markdown table: means, differences from masked language modeling, and the gaps of the decoders."""
    runs = {file.stem: json.loads(file.read_text()) for file in results.glob("*.json")}
    known = [name for name in (*BEFORE, *RUNS) if name in runs]
    columns = [f"{kind} {pooling}" for pooling in POOLINGS for kind in ("zero_shot", "finetuned")]
    lines = ["| run | steps | " + " | ".join(columns) + " | decoder loss: own, shuffled, gap [99 %] |"]
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
        metrics = run["bottleneck"]
        gaps = [
            f"{term}: {metrics[f'{term}_own']:.3f}, {metrics[f'{term}_shuffled']:.3f}, {metrics[f'{term}_gap']:+.4f} "
            f"[{metrics[f'{term}_gap_low']:+.4f}, {metrics[f'{term}_gap_high']:+.4f}]"
            for term in sorted(key.removesuffix("_own") for key in metrics if key.endswith("_own"))
        ]
        lines.append(f"| {name} | {run['steps']} | {' | '.join(cells)} | {'; '.join(gaps)} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--corpus", type=Path, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder of the models; large")
    arguments.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "compared_objectives")
    arguments.add_argument("--start_minutes", type=float, default=30)
    arguments.add_argument("--start_steps", type=int, help="steps of the common start, instead of its minutes")
    arguments.add_argument("--minutes", type=float, default=20)
    every = [*BEFORE, *RUNS]
    arguments.add_argument("--runs", nargs="*", default=every, choices=every)
    arguments.add_argument("--threads", type=int, help="by default that of torch")
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
            file.write_text(str(seconds_per_step(settings(start, given.corpus, run, model=model).prepare())))
        return round(60 * minutes / float(file.read_text()))

    def keep(name: str, model: Any, run: dict[str, Any]) -> None:
        file, folder = given.results / f"{name}.json", given.output / name
        if not file.exists():
            log = folder / "log.jsonl"
            steps_done = json.loads(log.read_text().splitlines()[-1])["step"] if log.exists() else 0
            start_hash = hash_file(start / "model.safetensors")[:16]
            results = {"steps": steps_done, "start": start_hash, **evaluate(model, folder, given.corpus, run)}
            file.write_text(json.dumps(results, indent=1) + "\n")

    if not start.exists():
        start_steps = given.start_steps or steps("start", START, given.start_minutes, START["model"])
        train(start, given.corpus, START, start_steps)
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

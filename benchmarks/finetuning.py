"""Fine-tune MiniLM with encloze or sentence-transformers on the same pairs, and save the results on dev and test.

    python benchmarks/finetuning.py --dataset squad --method random --seed 0 --output results

Methods: random (encloze), length_grouped (encloze with batches of similar length, as before 2026-11-29), mined (encloze
with random batches and one hard negative per query: the setting mine_negatives), and sentence_transformers
(MultipleNegativesRankingLoss, scale 20). All use the same training queries (3,500 at most), steps, batch size, learning
rate schedule, weight decay, maximum length and precision. Each run writes a JSON file with the nDCG@10 of each query;
``--compare`` prints the paired differences of all saved runs.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from encloze.commands.evaluate import Evaluate
from encloze.commands.finetune import Finetune
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.evaluation.estimates import estimate
from encloze.losses.contrastive import Contrastive
from encloze.models.origins.base import Origin
from encloze.storage.json_files import read_json, write_json
from encloze.systems.model import Model
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan

METHODS = ("random", "length_grouped", "mined", "sentence_transformers")
BATCH_SIZE, MAX_TOKENS, LEARNING_RATE, WARMUP, WEIGHT_DECAY, TEMPERATURE = 32, 128, 2e-5, 0.1, 0.01, 0.05


def reduced_dataset(dataset: Path, folder: Path, max_queries: int) -> Path:
    """Write a data set in which the split train has at most ``max_queries`` queries; return its folder."""
    folder.mkdir()
    for file in dataset.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file.resolve())
    (folder / "qrels").mkdir()
    for file in (dataset / "qrels").iterdir():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        if file.stem == "train":
            queries = sorted({line.split("\t")[0] for line in lines[1:]}, key=hash_to_unit_interval)[:max_queries]
            kept = set(queries)
            lines = [lines[0], *(line for line in lines[1:] if line.split("\t")[0] in kept)]
        (folder / "qrels" / file.name).write_text("".join(lines), encoding="utf-8")
    return folder


def train_encloze(dataset: Path, output: Path, method: str, seed: int, steps: int) -> None:
    """Fine-tune with encloze: with random batches, with batches of similar length, or with mined negatives."""
    command = Finetune(
        dataset=Format.from_name(str(dataset)),
        model=Origin.from_name("minilm"),
        output=output,
        losses=(Contrastive(temperature=TEMPERATURE),),
        mine_negatives=method == "mined",
        evaluate_on=None,
        max_query_tokens=MAX_TOKENS,
        max_document_tokens=MAX_TOKENS,
        batch_size=BATCH_SIZE,
        training=TrainingArguments(
            learning_rate=LEARNING_RATE, warmup_ratio=WARMUP, weight_decay=WEIGHT_DECAY, steps=steps, save_steps=0
        ),
        seed=seed,
    )

    def grouped(lengths: np.ndarray, seed: int, batch_size: int, _: Any) -> LengthGroupedPlan:
        return LengthGroupedPlan(lengths, seed, batch_size=batch_size)

    if method == "length_grouped":
        with mock.patch("encloze.commands.finetune.RandomPlan", grouped):
            command.run()
    else:
        command.run()


def train_sentence_transformers(dataset: Path, output: Path, seed: int, steps: int) -> None:
    """Fine-tune with sentence-transformers and its defaults for everything that ``encloze`` has no setting for."""
    import datasets
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from encloze.storage.model_folders import locate

    data = DatasetSplit(Format.from_name(str(dataset)), "train")
    number_of = data.corpus.number_of
    pairs = [
        (query.text, number_of[document])
        for query in data.queries
        for document, grade in data.judgments[query.id].items()
        if grade > 0 and document in number_of
    ]
    texts = data.corpus.texts([number for _, number in pairs])
    rows = datasets.Dataset.from_dict({"anchor": [text for text, _ in pairs], "positive": list(texts)})
    model = SentenceTransformer(str(locate("minilm")), device="cpu")
    model.max_seq_length = MAX_TOKENS
    arguments = Arguments(
        output_dir=str(output) + ".work",
        max_steps=steps,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        warmup_steps=round(WARMUP * steps),
        weight_decay=WEIGHT_DECAY,
        bf16=True,
        use_cpu=True,
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss).train()
    model.save_pretrained(str(output))


def measure(dataset: Path, model: str, splits: list[str]) -> dict[str, list[float]]:
    """Return the nDCG@10 of a model for each query of each split."""
    values = {}
    for split in splits:
        report = Evaluate(Format.from_name(str(dataset)), split, (Model(model),), measures=("nDCG@10",)).run()
        values[split] = report.systems[0].values["nDCG@10"].tolist()
    return values


def compare(folder: Path) -> None:
    """Print the paired differences between the methods on each data set and split, averaged over the seeds."""
    runs = [read_json(file) for file in sorted(folder.glob("*.json"))]
    for dataset in sorted({run["dataset"] for run in runs}):
        of_dataset = [run for run in runs if run["dataset"] == dataset]
        for split in of_dataset[0]["values"]:
            means = {
                method: np.mean([run["values"][split] for run in of_dataset if run["method"] == method], axis=0)
                for method in dict.fromkeys(run["method"] for run in of_dataset)
            }
            print(dataset, split, " ".join(f"{method} {values.mean():.4f}" for method, values in means.items()))
            for first, second in itertools.combinations(means, 2):
                interval = estimate([means[first]], [means[second]]).interval()
                print(f"  {first} - {second}: {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--method", choices=(*METHODS, "minilm"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--splits", default="dev")
    parser.add_argument("--max_queries", type=int, default=3500)
    parser.add_argument("--output", type=Path, required=True, help="folder of the JSON files of all runs")
    parser.add_argument("--compare", action="store_true", help="print the differences between the saved runs")
    arguments = parser.parse_args()
    if arguments.compare:
        compare(arguments.output)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        dataset = reduced_dataset(arguments.dataset, Path(temporary) / arguments.dataset.name, arguments.max_queries)
        trained, start = Path(temporary) / "trained", time.process_time()
        if arguments.method == "sentence_transformers":
            train_sentence_transformers(dataset, trained, arguments.seed, arguments.steps)
        elif arguments.method != "minilm":
            train_encloze(dataset, trained, arguments.method, arguments.seed, arguments.steps)
        seconds = time.process_time() - start
        model = "minilm" if arguments.method == "minilm" else str(trained)
        result = {
            "dataset": arguments.dataset.name,
            "method": arguments.method,
            "seed": arguments.seed,
            "steps": arguments.steps,
            "cpu_seconds": seconds,
            "values": measure(dataset, model, arguments.splits.split(",")),
        }
    name = f"{arguments.dataset.name}_{arguments.method}_{arguments.steps}_{arguments.seed}.json"
    write_json(arguments.output / name, result)
    print({split: float(np.mean(values)) for split, values in result["values"].items()}, f"{seconds:.0f} CPU seconds")


if __name__ == "__main__":
    main()

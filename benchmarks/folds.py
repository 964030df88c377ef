"""Cross-validate a pipeline: every query is evaluated by a model that was not trained on its article.

The queries are split into folds by article. Of the folds, one is test and the next one dev, on which weights may be
tuned; the others are for training.

    python benchmarks/folds.py hebrew --dataset heq --corpus docs-hewiki --output folds \
        --stages.language_model.model scratch

Further flags are passed to the recipe. The result is one table over all queries. Pre-training runs once, in the first
fold, because it does not depend on the fold. Finished work is skipped, and interrupted work is resumed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from encloze import recipe
from encloze.cli import display
from encloze.commands.run import Run
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Judgments, Query
from encloze.evaluation.report import Report
from encloze.evaluation.significance import bootstrap, randomization_test
from encloze.storage.json_files import read_json, write_json

RESULTS = Path(__file__).parent / "results"
SHARED_COMMANDS = ("pretrain",)  # their stages are the same in all folds

MeasureValues = dict[str, dict[str, np.ndarray]]
"""Values by system and measure: one for each query."""


def assign_folds(dataset: Format, splits: list[str], num_folds: int) -> tuple[list[Query], Judgments, dict[str, int]]:
    """Return all judged queries, their judgments, and the fold of each query id.

    The queries of one source are in one fold, and the folds have similar sizes.
    """
    parts = [DatasetSplit(dataset, split) for split in splits]
    queries = [query for part in parts for query in part.queries]
    judgments = {query: grades for part in parts for query, grades in part.judgments.items()}
    corpus = parts[0].corpus
    relevant = {q.id: next(d for d, grade in judgments[q.id].items() if grade > 0) for q in queries}
    sources = {id_: corpus[corpus.number_of[document]].source or document for id_, document in relevant.items()}
    fold_sizes, folds = Counter[int](dict.fromkeys(range(num_folds), 0)), dict[str, int]()
    for source, size in sorted(Counter(sources.values()).items(), key=lambda item: (-item[1], item[0])):
        folds[source] = min(fold_sizes, key=lambda fold: (fold_sizes[fold], fold))
        fold_sizes[folds[source]] += size
    return queries, judgments, {id_: folds[source] for id_, source in sources.items()}


def write_fold(folder: Path, queries: list[Query], judgments: Judgments, split_of: dict[str, str]) -> None:
    """Write queries and judgments in BEIR's layout, each query in its split."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": query.id, "text": query.text}, ensure_ascii=False) + "\n" for query in queries]
    (folder / "queries.jsonl").write_text("".join(lines), encoding="utf-8")
    for split in ("train", "dev", "test"):
        rows = [
            f"{query.id}\t{document}\t{grade}\n"
            for query in queries
            if split_of[query.id] == split
            for document, grade in judgments[query.id].items()
        ]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows), encoding="utf-8")


def share_stages(first: Path, folder: Path) -> None:
    """Link the finished stages of the first fold that do not depend on the fold into the folder of another fold."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {}
    for name, key in read_json(first / "stages.json")["done"].items():
        if recipe.read(str(first / name / "recipe.yaml"))["verb"] not in SHARED_COMMANDS:
            continue
        shared[name] = key
        if not (folder / name).exists():
            shutil.copytree(first / name, folder / name, copy_function=lambda a, b: Path(b).hardlink_to(a))
    if not (folder / "stages.json").exists():
        write_json(folder / "stages.json", {"done": shared, "started": {}})


def run_folds(arguments: argparse.Namespace, flags: list[tuple[str, str | None]]) -> MeasureValues:
    """Run the pipeline on each fold, and return the values of all queries."""
    queries, judgments, fold_of = assign_folds(Format.from_name(arguments.dataset), arguments.splits, arguments.folds)
    values: dict[str, dict[str, list[np.ndarray]]] = {}
    for fold in range(arguments.folds):
        folder = arguments.output / f"fold-{fold}"
        splits = {fold: "test", (fold + 1) % arguments.folds: "dev"}
        write_fold(folder / "queries", queries, judgments, {id_: splits.get(f, "train") for id_, f in fold_of.items()})
        if fold:
            share_stages(arguments.output / "fold-0" / "pipeline", folder / "pipeline")
        tree = recipe.read(arguments.recipe, "run")
        tree.pop("verb")
        dataset = {"type": "generated_queries", "corpus": arguments.dataset, "path": str(folder / "queries")}
        tree |= {"dataset": dataset, "corpus": arguments.corpus, "output": str(folder / "pipeline")}
        print(f"Fold {fold + 1} of {arguments.folds}", flush=True)
        display.run(recipe.build(Run, recipe.apply_flags(tree, flags), source=arguments.recipe))
        for system in Report.load(folder / "pipeline" / "evaluation").systems:
            for measure, query_values in system.values.items():
                values.setdefault(system.name, {}).setdefault(measure, []).append(query_values)
    return {
        name: {measure: np.concatenate(parts) for measure, parts in measures.items()}
        for name, measures in values.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["train", "dev"])
    parser.add_argument("--folds", type=int, default=5)
    arguments, rest = parser.parse_known_args()
    flags: list[tuple[str, str | None]] = [
        (flag.removeprefix("--"), value) for flag, value in zip(rest[::2], rest[1::2], strict=True)
    ]
    values = run_folds(arguments, flags)
    baseline = next(iter(values))
    measures = list(values[baseline])
    header = f"| system | {' | '.join(measures)} | {measures[0]} - {baseline} | p |"
    print(f"{header}\n|{'---|' * (len(measures) + 3)}")
    results = {}
    for name, system_values in values.items():
        means = {measure: bootstrap(query_values) for measure, query_values in system_values.items()}
        difference = bootstrap(system_values[measures[0]] - values[baseline][measures[0]])
        p = randomization_test(system_values[measures[0]], values[baseline][measures[0]])
        cells = [f"{mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]" for mean in means.values()]
        cells.append(f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]")
        print(f"| {name} | {' | '.join(cells)} | {p:.4f} |")
        intervals = {measure: mean._asdict() for measure, mean in means.items()}
        results[name] = {**intervals, "difference": difference._asdict(), "p": p}
    num_queries = len(values[baseline][measures[0]])
    file = RESULTS / f"folds_{arguments.recipe}_{Path(arguments.dataset).name}.json"
    write_json(file, {"queries": num_queries, "folds": arguments.folds, "systems": results})


if __name__ == "__main__":
    main()

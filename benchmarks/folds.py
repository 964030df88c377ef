"""A pipeline over folds of a data set, cut by articles: every query is judged by a model that never saw its article.

Of the folds one is test and the next one dev, on which weights may be chosen; the others are learnt from.

    python benchmarks/folds.py hebrew --dataset heq --corpus docs-hewiki --output folds --stages.spoken.model scratch

One table over all queries comes of it. What stands after the named settings is handed to the recipe. Pre-training is
done once, in the first fold: a stage's key counts what it is made from and not where it lies, so its folder serves the
other folds as well. What is done is not done again, and what was killed goes on.
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
ONCE = ("pretrain",)  # verbs whose stages serve all folds


def folds_of(
    dataset: Format, splits: list[str], count: int
) -> tuple[list[Query], dict[str, dict[str, int]], dict[str, int]]:
    """All judged queries, their judgments, and each one's fold: a source is in one fold, and folds are of like size."""
    parts = [DatasetSplit(dataset, split) for split in splits]
    queries = [query for part in parts for query in part.queries]
    judgments = {query: grades for part in parts for query, grades in part.judgments.items()}
    corpus = parts[0].corpus
    first = {q.id: next(d for d, grade in judgments[q.id].items() if grade > 0) for q in queries}
    source = {id_: corpus[corpus.number_of[document]].source or document for id_, document in first.items()}
    sizes, fold_of = Counter[int](dict.fromkeys(range(count), 0)), dict[str, int]()
    for name, size in sorted(Counter(source.values()).items(), key=lambda item: (-item[1], item[0])):
        fold_of[name] = min(sizes, key=lambda fold: (sizes[fold], fold))
        sizes[fold_of[name]] += size
    return queries, judgments, {id_: fold_of[name] for id_, name in source.items()}


def write_fold(folder: Path, queries: list[Query], judgments: Judgments, part_of: dict[str, str]) -> None:
    """Queries and judgments in BEIR's layout, each query in its part."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": query.id, "text": query.text}, ensure_ascii=False) + "\n" for query in queries]
    (folder / "queries.jsonl").write_text("".join(lines), encoding="utf-8")
    for split in ("train", "dev", "test"):
        judged = [
            f"{query.id}\t{document}\t{grade}\n"
            for query in queries
            if part_of[query.id] == split
            for document, grade in judgments[query.id].items()
        ]
        (folder / "qrels" / f"{split}.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8"
        )


def share_stages(first: Path, folder: Path) -> None:
    """Put the finished stages that serve all folds beside another fold's own."""
    done = read_json(first / "stages.json")["done"]
    folder.mkdir(parents=True, exist_ok=True)
    kept = {}
    for name, key in done.items():
        verb = recipe.read(str(first / name / "recipe.yaml"))["verb"]
        if verb in ONCE and not (folder / name).exists():
            shutil.copytree(first / name, folder / name, copy_function=lambda a, b: Path(b).hardlink_to(a))
        if verb in ONCE:
            kept[name] = key
    if not (folder / "stages.json").exists():
        write_json(folder / "stages.json", {"done": kept, "begun": {}})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe")
    arguments.add_argument("--dataset", required=True)
    arguments.add_argument("--corpus", required=True)
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--splits", nargs="+", default=["train", "dev"])
    arguments.add_argument("--folds", type=int, default=5)
    given, more = arguments.parse_known_args()
    flags: list[tuple[str, str | None]] = [
        (f.removeprefix("--"), v) for f, v in zip(more[::2], more[1::2], strict=True)
    ]
    queries, judgments, fold_of = folds_of(Format.named(given.dataset), given.splits, given.folds)
    values: dict[str, dict[str, list[np.ndarray]]] = {}
    for fold in range(given.folds):
        place = given.output / f"fold-{fold}"
        parts = {fold: "test", (fold + 1) % given.folds: "dev"}
        part_of = {id_: parts.get(of, "train") for id_, of in fold_of.items()}
        write_fold(place / "questions", queries, judgments, part_of)
        if fold:
            share_stages(given.output / "fold-0" / "chain", place / "chain")
        tree = recipe.read(given.recipe, "run")
        tree.pop("verb")
        dataset = {"type": "asked", "corpus": given.dataset, "questions": str(place / "questions")}
        tree |= {"dataset": dataset, "corpus": given.corpus, "output": str(place / "chain")}
        print(f"Fold {fold + 1} of {given.folds}", flush=True)
        display.run(recipe.build(Run, recipe.apply_flags(tree, flags), source=given.recipe))
        for system in Report.load(place / "chain" / "judged").systems:
            for measure, of_queries in system.values.items():
                values.setdefault(system.name, {}).setdefault(measure, []).append(of_queries)
    table = {
        name: {measure: np.concatenate(parts) for measure, parts in measures.items()}
        for name, measures in values.items()
    }
    base = next(iter(table))
    measures = list(table[base])
    print(f"| system | {' | '.join(measures)} | {measures[0]} against {base} | p |\n|{'---|' * (len(measures) + 3)}")
    found = {}
    for name, of_measures in table.items():
        means = {measure: bootstrap(numbers) for measure, numbers in of_measures.items()}
        difference = of_measures[measures[0]] - table[base][measures[0]]
        gap, p = bootstrap(difference), randomization_test(of_measures[measures[0]], table[base][measures[0]])
        cells = [f"{mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]" for mean in means.values()]
        print(f"| {name} | {' | '.join(cells)} | {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] | {p:.4f} |")
        found[name] = {**{m: mean._asdict() for m, mean in means.items()}, "against": gap._asdict(), "p": p}
    file = RESULTS / f"folds_{given.recipe}_{Path(given.dataset).name}.json"
    write_json(file, {"queries": len(queries), "folds": given.folds, "systems": found})


if __name__ == "__main__":
    main()

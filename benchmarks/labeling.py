"""Measure how exact the difference of two systems is by the number of judged queries, in two orders of the queries.

    encloze evaluate --dataset DATA --systems bm25,minilm --output EVALUATED
    python benchmarks/labeling.py --dataset DATA --split test --evaluated EVALUATED

The judgments of the data set take the place of a person. For many seeds, queries are judged in the order of
``encloze label``, which depends on how differently the systems rank, and in a random one. For a few numbers of judged
queries, the table has the root mean square error of the estimated difference, how often its 95 % interval contains the
difference over all queries, and the mean number of judged documents.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from encloze.data.collection import Dataset
from encloze.data.runs import read_run
from encloze.evaluation.pooled_judgments import PooledJudgments
from encloze.evaluation.pooling import Pool
from encloze.evaluation.priority_sampling import PrioritySample
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results"
COUNTS = (20, 50, 100, 200)
SEEDS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--evaluated", type=Path, required=True, help="output of encloze evaluate, with two systems")
    arguments = parser.parse_args()
    split = Dataset.load(arguments.dataset).split(arguments.split)
    runs = {file.name: read_run(file) for file in sorted((arguments.evaluated / "runs").iterdir())}
    pool = Pool.from_runs(runs, split.queries, depth=10, seed=0)
    judged = {
        one.query.id: {**dict.fromkeys(one.documents, 0), **split.judgments[one.query.id]} for one in pool.queries
    }
    judgments = PooledJudgments(pool, judged)
    values = np.array([judgments.values(number) for number in range(len(pool.queries))])
    differences, sizes = values[:, 1] - values[:, 0], np.array([len(one.documents) for one in pool.queries])
    weights = {"label": np.array([sum(one.weights.values()) for one in pool.queries]), "random": np.ones(len(values))}
    true, rng, rows = float(differences.mean()), np.random.default_rng(0), []
    for count in (count for count in COUNTS if count < len(values)):
        for name, weight in weights.items():
            found, documents = [], []
            for _ in range(SEEDS):
                sample = PrioritySample(weight, rng.random(len(weight)))
                found.append(sample.estimate(differences[sample.order[:count]]))
                documents.append(sizes[sample.order[:count]].sum())
            # The interval is one for users' queries, of which all queries are a sample: its part for this is removed.
            own = differences.var(ddof=1) / len(differences)
            errors = np.array([abs(one.mean - true) for one in found])
            limits = np.array([2 * np.sqrt(max(0.0, one.standard_error**2 - own)) for one in found])
            figures = {"rmse": np.sqrt((errors**2).mean()), "covered": (errors <= limits).mean()}
            rows.append({"order": name, "queries": count, "documents": float(np.mean(documents)), **figures})
    result = {
        "versions": versions(),
        "dataset": Path(arguments.dataset).name,
        "systems": list(runs),
        "queries": len(values),
        "difference": true,
        "rows": [{key: value if isinstance(value, str) else round(float(value), 4) for key, value in row.items()}
                 for row in rows],
    }  # fmt: skip
    names = "_".join(name.partition(".")[0] for name in runs)
    (RESULTS / f"labeling_{Path(arguments.dataset).name}_{names}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "versions"}, indent=1))


if __name__ == "__main__":
    main()

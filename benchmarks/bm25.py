"""BM25 against bm25s on one collection: the time to build, the time of a query, and the memory that either holds.

python benchmarks/bm25.py --dataset medquad
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.search.analyzers.plain import Plain
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "bm25.json"
DEPTH = 100


def ours(texts: list[str], queries: list[str]) -> tuple[float, float, np.ndarray]:
    """Seconds to build, seconds for all queries, and the best scores of each."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        Bm25().build(texts, Path(folder))
        index = Bm25().open(Path(folder))
        built = time.perf_counter()
        found = index.search(queries, DEPTH)
        return built - began, time.perf_counter() - built, found.scores


def theirs(texts: list[str], queries: list[str]) -> tuple[float, float, np.ndarray]:
    """The same words in bm25s, as fast as it is without numba, and with its own choice of the best."""
    import bm25s

    words, number_of = Plain().words, dict[str, int]()
    began = time.perf_counter()
    counted = [[number_of.setdefault(word, len(number_of)) for word in words(text)] for text in texts]
    core = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    core.index((counted, number_of), show_progress=False)
    built = time.perf_counter()
    asked = [[number_of[word] for word in words(query) if word in number_of] for query in queries]
    best = [np.sort(core.get_scores_from_ids(ids))[::-1][:DEPTH] if ids else np.zeros(DEPTH) for ids in asked]
    return built - began, time.perf_counter() - built, np.stack(best)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--dataset", default="python_docs")
    arguments.add_argument("--split", default="test")
    arguments.add_argument("--only", choices=["ours", "theirs"], help="run one of them in this process, for its memory")
    given = arguments.parse_args()
    dataset = DatasetSplit(Format.named(given.dataset), given.split)
    texts, queries = list(dataset.corpus.texts()), [query.text for query in dataset.queries]
    if given.only:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        build, ask, scores = {"ours": ours, "theirs": theirs}[given.only](texts, queries)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(json.dumps({"build": build, "ask": ask, "grown": grown, "sum": float(scores.sum())}))
        return
    found: dict[str, Any] = {}
    for name in ("ours", "theirs") * 2:  # the second time with warm files
        command = [sys.executable, __file__, "--dataset", given.dataset, "--split", given.split, "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    ratios = {what: found["theirs"][what] / found["ours"][what] for what in ("build", "ask", "grown")}
    result = {"documents": len(texts), "queries": len(queries), **found, "theirs over ours": ratios}
    RESULTS.write_text(json.dumps({**result, "versions": versions()}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

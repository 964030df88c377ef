"""Compare BM25 with bm25s on one collection: time to build, time to search, and memory.

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


def run_encloze(texts: list[str], queries: list[str]) -> tuple[float, float, np.ndarray]:
    """Return the seconds to build, the seconds to search all queries, and the best scores of each query."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        Bm25().build(texts, Path(folder))
        searcher = Bm25().open(Path(folder))
        built = time.perf_counter()
        results = searcher.search(queries, DEPTH)
        return built - start, time.perf_counter() - built, results.scores


def run_bm25s(texts: list[str], queries: list[str]) -> tuple[float, float, np.ndarray]:
    """Return the same of bm25s with the same terms, without numba."""
    import bm25s

    analyze, term_numbers = Plain().words, dict[str, int]()
    start = time.perf_counter()
    documents = [[term_numbers.setdefault(term, len(term_numbers)) for term in analyze(text)] for text in texts]
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index((documents, term_numbers), show_progress=False)
    built = time.perf_counter()
    query_terms = [[term_numbers[term] for term in analyze(query) if term in term_numbers] for query in queries]
    best = [
        np.sort(index.get_scores_from_ids(terms))[::-1][:DEPTH] if terms else np.zeros(DEPTH) for terms in query_terms
    ]
    return built - start, time.perf_counter() - built, np.stack(best)


LIBRARIES = {"encloze": run_encloze, "bm25s": run_bm25s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="python_docs")
    parser.add_argument("--split", default="test")
    parser.add_argument("--only", choices=LIBRARIES, help="measure one library in this process")
    arguments = parser.parse_args()
    dataset = DatasetSplit(Format.from_name(arguments.dataset), arguments.split)
    texts, queries = list(dataset.corpus.texts()), [query.text for query in dataset.queries]
    if arguments.only:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        build, search, scores = LIBRARIES[arguments.only](texts, queries)
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        figures = {"build_seconds": build, "search_seconds": search, "memory_mb": memory}
        print(json.dumps({**figures, "sum_of_scores": float(scores.sum())}))
        return
    measured: dict[str, Any] = {}
    for name in (*LIBRARIES, *LIBRARIES):  # the first time only warms the file cache
        command = [sys.executable, __file__, "--dataset", arguments.dataset, "--split", arguments.split, "--only", name]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        measured[name] = json.loads(process.stdout.splitlines()[-1])
    ratios = {
        name: measured["bm25s"][name] / measured["encloze"][name]
        for name in ("build_seconds", "search_seconds", "memory_mb")
    }
    result = {"documents": len(texts), "queries": len(queries), **measured, "bm25s / encloze": ratios}
    RESULTS.write_text(json.dumps({**result, "versions": versions()}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

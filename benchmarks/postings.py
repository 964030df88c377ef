"""Compare searches in postings lists: numpy, compiled (extra fast) and bm25s with and without numba.

    python benchmarks/postings.py --corpora docs-cpp medquad insuranceqa --queries medquad

The passages of the corpora are shuffled, and repeated for the larger sizes. All variants search with the same terms of
the same queries, one query at a time, in turn; the figures are CPU milliseconds a query, the medians of all runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.search import postings_search as postings
from encloze.search.analyzers.plain import Plain
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "postings.json"
SIZES = (20_000, 40_000, 80_000, 160_000)
NUM_QUERIES, DEPTH, RUNS = 200, 10, 5


def bm25s_searches(documents: list[list[str]]) -> dict[str, Callable[[list[str]], Any]]:
    """Return the searches of bm25s for the terms of one query."""
    import bm25s

    searches: dict[str, Callable[[list[str]], Any]] = {}
    for name, backend in (("bm25s", "numpy"), ("bm25s, numba", "numba")):
        index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend=backend)
        index.index(documents, show_progress=False)
        searches[name] = partial(_retrieve, index)
    return searches


def _retrieve(index: Any, terms: list[str]) -> Any:
    return index.retrieve([terms], k=DEPTH, show_progress=False, n_threads=0)


def own_searches(texts: Iterable[str], folder: Path) -> dict[str, Callable[[list[str]], Any]]:
    """Return the same of encloze."""
    Bm25(analyzer=Plain()).build(texts, folder)
    searcher = Bm25().open(folder)

    def search(terms: list[str]) -> Any:
        return searcher.search_terms([dict.fromkeys(terms, 1.0)], DEPTH)

    return {"numpy": search, "compiled": search}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", nargs="+", default=["python_docs"])
    parser.add_argument("--queries", default="python_docs", help="data set whose split dev has the queries")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    arguments = parser.parse_args()
    texts = [text for name in arguments.corpora for text in Corpus.load(name).texts()]
    random.Random(0).shuffle(texts)
    queries = [Plain().words(q.text) for q in DatasetSplit(Format.from_name(arguments.queries), "dev").queries]
    queries = [list(dict.fromkeys(terms)) for terms in queries[:NUM_QUERIES]]
    measured: dict[str, Any] = {}
    for size in arguments.sizes:
        some = list(itertools.islice(itertools.cycle(texts), size))
        with tempfile.TemporaryDirectory() as folder:
            searches = own_searches(some, Path(folder)) | bm25s_searches([Plain().words(text) for text in some])
            seconds: dict[str, list[float]] = {name: [] for name in searches}
            for _ in range(RUNS + 1):  # the first run warms up
                for name, search in searches.items():
                    with mock.patch.object(postings, "_MIN_QUERIES", 0 if name == "compiled" else 2**62):
                        start = time.process_time()
                        for terms in queries:
                            search(terms)
                        seconds[name].append(time.process_time() - start)
        runs = {name: np.array(values[1:]) / len(queries) * 1000 for name, values in seconds.items()}
        measured[str(size)] = {
            name: {"median": float(np.median(values)), "min": values.min(), "max": values.max()}
            for name, values in runs.items()
        }
        medians = ", ".join(f"{name} {figures['median']:.3f}" for name, figures in measured[str(size)].items())
        print(f"{size:,} documents, CPU milliseconds a query: {medians}", flush=True)
    result = {"milliseconds": measured, "queries": len(queries), "depth": DEPTH, "versions": versions()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

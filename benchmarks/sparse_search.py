"""Compare searches over sparse term weights: encloze with numpy and compiled (extra fast), torch CSR and scipy.

    python benchmarks/sparse_search.py

The collection is drawn: 200,000 documents of 128 terms and queries of 32 terms, of a vocabulary of 30,522. A document
and a query have 1.26 terms in common on the mean. All variants search with the same queries in turn, with one thread;
the figures are CPU milliseconds a query, the medians of all runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse
import torch

from encloze.data.records import Representation
from encloze.search import postings_search
from encloze.search.indexes.inverted import Inverted
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "sparse_search.json"
NUM_DOCUMENTS, NUM_TERMS, TERMS_PER_DOCUMENT, TERMS_PER_QUERY = 200_000, 30_522, 128, 32
NUM_QUERIES, DEPTH, RUNS = 64, 10, 7


def draw_weights(rows: int, terms: int, draw: np.random.Generator) -> scipy.sparse.csr_matrix:
    """Return term weights of texts: the frequencies of terms follow a Zipf distribution, the weights are log-normal."""
    cumulative = np.cumsum(1 / (np.arange(NUM_TERMS) + 100))
    indices = np.empty((rows, terms), np.int32)
    for row in range(rows):
        drawn = np.searchsorted(cumulative, draw.random(3 * terms) * cumulative[-1])
        _, first = np.unique(drawn, return_index=True)
        indices[row] = np.sort(drawn[np.sort(first)[:terms]])  # the first ones: a sample without replacement
    values = draw.lognormal(-0.5, 0.8, (rows, terms)).astype(np.float32)
    offsets = np.arange(rows + 1, dtype=np.int32) * terms
    return scipy.sparse.csr_matrix((values.ravel(), indices.ravel(), offsets), (rows, NUM_TERMS))


def torch_search(documents: scipy.sparse.csr_matrix) -> Callable[[scipy.sparse.csr_matrix], Any]:
    """Return the search as a product of a sparse matrix, with int32 indices, and a dense query."""
    offsets, columns = (torch.from_numpy(array.astype(np.int32)) for array in (documents.indptr, documents.indices))
    matrix = torch.sparse_csr_tensor(offsets, columns, torch.from_numpy(documents.data), documents.shape)
    return lambda query: torch.topk(matrix @ torch.from_numpy(query.toarray().T).squeeze(1), DEPTH)


def scipy_search(documents: scipy.sparse.csr_matrix) -> Callable[[scipy.sparse.csr_matrix], Any]:
    """Return the search as a product of a sparse matrix and a dense query."""

    def search(query: scipy.sparse.csr_matrix) -> Any:
        scores = documents @ query.toarray()[0]
        best = np.argpartition(scores, -DEPTH)[-DEPTH:]
        return best[np.argsort(-scores[best])]

    return search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=NUM_DOCUMENTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    documents = draw_weights(arguments.documents, TERMS_PER_DOCUMENT, draw)
    drawn = draw_weights(NUM_QUERIES, TERMS_PER_QUERY, draw)
    queries = [drawn[row] for row in range(NUM_QUERIES)]
    postings = np.bincount(documents.indices, minlength=NUM_TERMS)
    in_common = float(np.mean([postings[query.indices].sum() for query in queries])) / arguments.documents
    with tempfile.TemporaryDirectory() as folder:
        Inverted().build(Representation(sparse=documents), Path(folder))
        searcher = Inverted().open(Path(folder))

        def own(query: scipy.sparse.csr_matrix) -> Any:
            return searcher.search(Representation(sparse=query), DEPTH)

        searches = {
            "numpy": own,
            "compiled": own,
            "torch CSR int32": torch_search(documents),
            "scipy": scipy_search(documents),
        }
        seconds: dict[str, list[float]] = {name: [] for name in searches}
        for _ in range(RUNS + 1):  # the first run warms up
            for name, search in searches.items():
                threshold = 0 if name == "compiled" else 2**62
                with mock.patch.object(postings_search, "_MIN_QUERIES", threshold):
                    start = time.process_time()
                    for query in queries:
                        search(query)
                    seconds[name].append(time.process_time() - start)
    runs = {name: np.array(values[1:]) / NUM_QUERIES * 1000 for name, values in seconds.items()}
    measured = {
        name: {"median": float(np.median(values)), "min": values.min(), "max": values.max()}
        for name, values in runs.items()
    }
    for name, figures in measured.items():
        ratio = measured["torch CSR int32"]["median"] / figures["median"]
        print(f"{name}: {figures['median']:.3f} ms ({figures['min']:.3f} to {figures['max']:.3f}), {ratio:.1f}x torch")
    result = {"milliseconds": measured, "documents": arguments.documents, "terms_in_common": in_common}
    RESULTS.write_text(json.dumps(result | {"versions": versions()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

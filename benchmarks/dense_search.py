"""Compare searches over embeddings: flat (exact), hnsw and ivf, up to a million documents.

    python benchmarks/dense_search.py --data FOLDER --documents 125000,1000000 --target 0.99

The embeddings are those of minilm for the first 60 words of the distinct passages of five collections (40,000; FOLDER
contains them in BEIR layout; by default the documentation of Python), enlarged by resampling: a new embedding is that
of a random passage plus ``ALPHA`` times the difference between two other passages of the same collection, normalized.
With this ``ALPHA`` the median cosine of documents with their nearest neighbor is about the same as among the passages;
the result contains quantiles of both. The queries are real queries of the collections.

All searches run with one thread, one query at a time, in turn; the figures are the medians of CPU milliseconds. Recall
is measured against flat. Memory is the part of the files that the searches have loaded, as Linux reports it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from encloze import Dataset, Encoder
from encloze.data.records import Representation
from encloze.search.indexes.base import Index
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.hnsw import Hnsw
from encloze.search.indexes.ivf import Ivf
from encloze.settings import plain
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "dense_search.json"
SOURCES = ("squad", "insuranceqa", "vaswani", "cranfield", "medquad")
CACHE = Path(tempfile.gettempdir()) / "encloze_dense_search"
WORDS, QUERIES_PER_SOURCE, MAX_PASSAGES, RUNS = 60, 200, 20_000, 3
ALPHA = 0.7


def encoded(data: Path | None, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the normalized embeddings of the passages and of the queries of a collection, encoded once."""
    file = CACHE / f"{source}.npz"
    if not file.exists():
        CACHE.mkdir(exist_ok=True)
        dataset, encoder = (
            Dataset.load(str(data / source) if data else source),
            Encoder.from_pretrained("minilm", device="cpu"),
        )
        passages_of_source = islice(dataset.corpus.texts(), MAX_PASSAGES)
        texts = list(dict.fromkeys(" ".join(text.split()[:WORDS]) for text in passages_of_source))
        queries = [query.text for query in islice(dataset.split("test").queries, QUERIES_PER_SOURCE)]
        passages = encoder.encode_documents(texts)
        np.savez(file, passages=passages, queries=encoder.encode_queries(queries))
    with np.load(file) as stored:
        return stored["passages"], stored["queries"]


def enlarged(passages: list[np.ndarray], count: int, alpha: float = ALPHA) -> np.ndarray:
    """Return the embeddings of the passages, followed by resampled ones, shuffled: float32, ``(count, dim)``."""
    draw = np.random.default_rng(0)
    total = sum(map(len, passages))
    parts = [*passages]
    for part in passages:
        base, plus, minus = draw.integers(len(part), size=(3, round((count - total) * len(part) / total) + 1))
        new = part[base]
        new += alpha * (part[plus] - part[minus])
        new /= np.linalg.norm(new, axis=1, keepdims=True)
        parts.append(new)
    vectors = np.concatenate(parts)[:count] if count <= total else np.concatenate(parts)
    return vectors[draw.permutation(len(vectors))[:count]]


def nearest_cosines(vectors: np.ndarray) -> list[float]:
    """Return quantiles (10, 50 and 90 %) of the cosine of a sample of vectors with their nearest neighbor."""
    sample = vectors[np.random.default_rng(1).choice(len(vectors), 500, replace=False)]
    cosines = faiss.knn(sample, vectors, 2, metric=faiss.METRIC_INNER_PRODUCT)[0][:, 1]
    return [round(float(value), 3) for value in np.quantile(cosines, [0.1, 0.5, 0.9])]


def peak_mb() -> float:
    """Return the peak memory of this process in MB, with mapped files; 0 if the system does not report it."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:"))


def build(index: Index, vectors: Path, folder: Path) -> dict[str, float]:
    """Build an index of a file of embeddings. Return CPU seconds and the growth of the peak memory in MB."""
    faiss.omp_set_num_threads(1)
    embeddings = np.load(vectors, mmap_mode="r")
    start, before = time.process_time(), peak_mb()
    builder = index.builder(folder)
    for row in range(0, len(embeddings), 4096):
        builder.add(Representation(dense=embeddings[row : row + 4096]))
    added = time.process_time()
    builder.finish()
    return {
        "build_seconds": round(time.process_time() - start, 1),
        "write_embeddings_seconds": round(added - start, 1),
        "peak_mb_with_mapped_embeddings": round(peak_mb() - before),
    }


def resident_mb(file: Path) -> float:
    """Return the resident size of a memory-mapped file in MB; 0 if the system does not report it."""
    smaps = Path("/proc/self/smaps")
    lines = iter(smaps.read_text(encoding="utf-8").splitlines()) if smaps.exists() else iter(())
    return sum(
        int(next(line for line in lines if line.startswith("Rss:")).split()[1]) / 1000
        for line in lines
        if line.endswith(str(file))
    )


def recalls(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the mean fraction of the exact results that were found."""
    return float(np.mean([np.isin(best, row).mean() for row, best in zip(found, exact, strict=True)]))


def measure(searchers: dict[str, Any], queries: np.ndarray) -> dict[str, dict[str, float]]:
    """Return recall against flat, and CPU milliseconds per query, at depths 10 and 100."""
    results: dict[str, dict[str, float]] = {name: {} for name in searchers}
    for depth in (10, 100):
        times: dict[str, list[float]] = {name: [] for name in searchers}
        numbers = {name: np.empty((len(queries), depth), np.int64) for name in searchers}
        for run in range(RUNS + 1):  # the first run warms up
            for step in range(len(queries)):
                for position, (name, searcher) in enumerate(searchers.items()):
                    row = (step + position * len(queries) // len(searchers)) % len(queries)  # no query twice in a row
                    if name == "flat" and run > 0 and step % 8:  # the exact results are known, and it is slow
                        continue
                    start = time.process_time()
                    found = searcher.search(Representation(dense=queries[row, None]), depth)
                    if run:
                        times[name].append(time.process_time() - start)
                    else:
                        numbers[name][row] = found.numbers[0]
        for name in searchers:
            recall = recalls(numbers[name], numbers["flat"])
            results[name] |= {
                f"recall@{depth}": round(recall, 4),
                f"ms@{depth}": round(float(np.median(times[name])) * 1000, 3),
            }
    return results


def of_size(
    vectors: np.ndarray, queries: np.ndarray, kinds: list[str], folder: Path, target: float | None
) -> dict[str, Any]:
    """Build and measure the indexes of some vectors. Indexes that are in the folder already are not built again."""
    np.save(folder / "vectors.npy", vectors)
    built: dict[str, dict[str, Any]] = {}
    searchers: dict[str, Any] = {}
    usual: dict[str, Index] = {"flat": Flat(), "hnsw": Hnsw(), "ivf": Ivf()}
    tuned: dict[str, Index] = {"hnsw": Hnsw(target_recall=target), "ivf": Ivf(target_recall=target)} if target else {}
    files = {"flat": "embeddings.npy", "hnsw": "graph.faiss", "ivf": "lists.faiss"}
    for kind in kinds:
        figures = folder / f"{kind}.json"
        if not figures.exists():
            (folder / kind).mkdir()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                arguments = tuned.get(kind, usual[kind]), folder / "vectors.npy", folder / kind
                figures.write_text(json.dumps(pool.submit(build, *arguments).result()), encoding="utf-8")
        built[kind] = json.loads(figures.read_text(encoding="utf-8"))
        size = (folder / kind / files[kind]).stat().st_size
        built[kind] |= {"settings": plain(usual[kind]), "bytes_per_document": round(size / len(vectors), 1)}
        searchers[kind] = usual[kind].open(folder / kind)
        if kind in tuned:
            searchers[f"{kind}, target {target}"] = tuned[kind].open(folder / kind)
            stored = json.loads((folder / kind / "approximate.json").read_text(encoding="utf-8"))
            built[kind] |= {"tuned": stored["tuned"], "recall of perturbed documents": round(stored["recall"], 4)}
        print(len(vectors), kind, built[kind], flush=True)
    measured = measure(searchers, queries)
    for kind in kinds:
        built[kind]["resident_mb"] = round(resident_mb(folder / kind / files[kind]))
        if kind != "flat":
            built[kind]["resident_mb_of_rescored_embeddings"] = round(resident_mb(folder / kind / "embeddings.npy"))
    for name, result in measured.items():
        speedup = measured["flat"]["ms@10"] / result["ms@10"]
        print(f"{len(vectors):,} {name}: {result}, {speedup:.1f}x flat", flush=True)
    return {"built": built, "measured": measured, "nearest cosines": nearest_cosines(vectors)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the collections in BEIR layout; by default python_docs")
    parser.add_argument("--documents", default="125000", help="numbers of documents")
    parser.add_argument("--indexes", default="flat,hnsw,ivf")
    parser.add_argument(
        "--target", type=float, help="also build with this target_recall, and search with what it chose"
    )
    parser.add_argument("--add", action="store_true", help="keep the results of other numbers of documents")
    parser.add_argument("--keep", action="store_true", help="keep the indexes in the cache, and use them next time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    sources = SOURCES if arguments.data else ("python_docs",)
    encodings = [encoded(arguments.data, source) for source in sources]
    passages, queries = [one[0] for one in encodings], np.concatenate([one[1] for one in encodings])
    result: dict[str, Any] = {
        "passages": sum(map(len, passages)),
        "queries": len(queries),
        "alpha": ALPHA,
        "nearest cosines of the passages (10, 50, 90 %)": nearest_cosines(np.concatenate(passages)),
        "sizes": {},
    }
    if RESULTS.exists() and arguments.add:
        result["sizes"] = json.loads(RESULTS.read_text(encoding="utf-8"))["sizes"]
    for count in map(int, arguments.documents.split(",")):
        vectors = enlarged(passages, count) if count > result["passages"] else np.concatenate(passages)
        folder = CACHE / f"indexes-{len(vectors)}"
        folder.mkdir(exist_ok=True)
        kinds = arguments.indexes.split(",")
        result["sizes"][str(len(vectors))] = of_size(vectors, queries, kinds, folder, arguments.target)
        if not arguments.keep:
            shutil.rmtree(folder)
        result["sizes"] = dict(sorted(result["sizes"].items(), key=lambda item: int(item[0])))
        RESULTS.write_text(json.dumps(result | {"versions": versions()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

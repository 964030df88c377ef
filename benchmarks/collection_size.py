"""Measure memory and time of reading, encoding and indexing collections of growing size.

    python benchmarks/collection_size.py --sizes 40000 160000 640000

The texts are random passages of the size of a sentence with a Zipf distribution of words. Their embeddings are made of
their hashes, because a real model needs hours for the largest size and the same memory for each of them; they pass
through the same shards, cache and indexes as those of a model. Each size runs in a process of its own. Memory is the
highest anonymous resident set, sampled every 20 ms: memory-mapped files are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from encloze.data.corpus import Corpus
from encloze.data.records import Representation
from encloze.encoders.onnx import OnnxEncoder
from encloze.retrieval.index_building import build_index
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.similarity import Similarity
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "collection_size.json"
DIM, WORDS, VOCABULARY = 384, 20, 200_000
SAMPLE_SECONDS = 0.02


class HashEncoder(OnnxEncoder):
    """An encoder whose embeddings depend on a hash of the text."""

    name, fingerprint, arithmetic = "hash", "hash", "float32 on cpu"
    views, similarity = {"dense": DIM}, Similarity()

    def __init__(self) -> None:
        self._table = np.random.default_rng(0).standard_normal((4096, DIM)).astype(np.float32)

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        source = iter(texts)
        while window := list(islice(source, 4096)):
            rows = np.array([xxhash.xxh3_64_intdigest(text.encode()) % 4096 for text in window])
            yield Representation(self._table[rows])


def write_corpus(file: Path, count: int) -> None:
    """Write random passages."""
    chance = np.random.default_rng(count)
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            words = chance.zipf(1.2, WORDS) % VOCABULARY
            text = " ".join(f"w{word}" for word in words.tolist())
            stream.write(f'{{"_id": "d{number}", "title": "", "text": "{text}"}}\n')


def measure(file: Path, folder: Path) -> dict[str, Any]:
    """Read, encode and index a collection, and return seconds and memory."""
    peak, stopped = [0], threading.Event()

    def sample() -> None:
        while not stopped.wait(SAMPLE_SECONDS):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.partition("RssAnon:")[2].split()[0]))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    parts = {}
    began = time.process_time()
    corpus = Corpus.load(str(file))
    parts["reading"] = {"seconds": time.process_time() - began, "MB": peak[0] / 1024}
    for name, indexes in (("flat", (Flat(),)), ("bm25", (Bm25(),))):
        peak[0], began = 0, time.process_time()
        (folder / name).mkdir()
        build_index(corpus, indexes, HashEncoder() if name == "flat" else None, folder / name)
        parts[name] = {"seconds": time.process_time() - began, "MB": peak[0] / 1024}
    stopped.set()
    thread.join()
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[40_000, 160_000, 640_000])
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        print(json.dumps(measure(arguments.file, arguments.file.parent)))
        return
    results = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            file = Path(name, "corpus.jsonl")
            write_corpus(file, size)
            environment = {**os.environ, "ENCLOZE_CACHE": str(Path(name, "cache"))}
            command = [sys.executable, __file__, "--file", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        results[size] = json.loads(done.stdout.splitlines()[-1])
        print(size, results[size])
    exponents = {
        part: float(np.polyfit(np.log(arguments.sizes), np.log([of[part]["seconds"] for of in results.values()]), 1)[0])
        for part in next(iter(results.values()))
    }
    print("exponents of the time:", {part: round(value, 3) for part, value in exponents.items()})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"versions": versions(), "results": results, "exponents": exponents}, indent=2))


if __name__ == "__main__":
    main()

"""Compare executors: throughput of encoding by one and by two workers, and whether the bytes are the same.

    python benchmarks/executors.py --model minilm --shards 6

The documents are short, so that a shard of 4,096 takes seconds. Each worker has one thread. The time is that from the
first result to the last one, without the start of the workers; the numbers of workers are measured in turn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.records import Document
from encloze.encoders.base import load_encoder
from encloze.execution.encodings import SHARD_SIZE, encode_corpus
from encloze.execution.executors.base import Executor
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "executors.json"
SETTINGS = {"processes": {"threads": 1}, "ray": {"cpus_per_worker": 1}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--executors", nargs="+", default=["processes", "ray"])
    arguments = parser.parse_args()
    os.environ["ENCLOZE_ENCODINGS"] = "0"
    encoder, chance = load_encoder(arguments.model, "float32", "cpu"), np.random.default_rng(0)
    words = ("river", "engine", "violin", "comet", "bakery", "harbour", "glacier", "orchard", "library", "reactor")
    texts = (" ".join(chance.choice(words, 3)) for _ in range(arguments.shards * SHARD_SIZE))
    digests, seconds = set[str](), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus.from_documents(
            [Document(str(number), "", text) for number, text in enumerate(texts)], Path(folder, "corpus.arrow")
        )
        for _ in range(arguments.rounds):
            for name in arguments.executors:
                for workers in (1, 2):
                    executor = Executor.member(name)(workers=workers, **SETTINGS[name])  # type: ignore[call-arg]
                    digest, began = hashlib.sha256(), 0.0
                    for part in encode_corpus(encoder, corpus, executor):
                        assert part.dense is not None
                        digest.update(part.dense.tobytes())
                        began = began or time.perf_counter()
                    # the first shard of each worker is computed before the first result
                    each = (time.perf_counter() - began) / (arguments.shards - workers)
                    seconds.setdefault(f"{name} {workers}", []).append(each)
                    digests.add(digest.hexdigest())
                    print(name, workers, f"{each:.2f} seconds a shard", digest.hexdigest()[:12])
    medians = {name: float(np.median(of)) for name, of in seconds.items()}
    ratios = {name: medians[f"{name} 1"] / medians[f"{name} 2"] for name in arguments.executors}
    print({name: round(ratio, 2) for name, ratio in ratios.items()}, "same bytes" if len(digests) == 1 else "DIFFERENT")
    content = {"versions": versions(), "seconds a shard": seconds, "ratios": ratios, "same bytes": len(digests) == 1}
    RESULTS.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()

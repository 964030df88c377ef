"""Compare encoding by encloze, by its exports to ONNX and by sentence-transformers: passages, and one short query.

    python benchmarks/encoding.py --corpus medquad

The model is minilm, on one core. All variants encode the same texts in turn; the figures are CPU milliseconds a
text, the medians of all runs. The cosines are those with the embeddings of sentence-transformers in float32.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from encloze.data.corpus import Corpus
from encloze.encoders.onnx import OnnxEncoder
from encloze.exports.onnx import Onnx
from encloze.models.bi_encoder import BiEncoder
from encloze.storage.model_folders import locate
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "encoding.json"
NUM_TEXTS, NUM_QUERIES, RUNS = 256, 50, 5
QUERY = "what causes glaucoma in older people"

Encode = Callable[[list[str]], Any]


def encoders(folder: Path) -> dict[str, Encode]:
    """Return the functions that encode a list of texts. Exported models are written to ``folder``."""
    made: dict[str, Encode] = {}
    for precision in ("float32", "bfloat16"):
        own = BiEncoder.load("minilm", precision=precision, device="cpu")
        made[f"encloze, {precision}"] = lambda texts, own=own: own.encode_documents(texts).dense  # type: ignore[misc]
        kwargs = {"dtype": getattr(torch, precision)}
        other = SentenceTransformer(str(locate("minilm")), device="cpu", model_kwargs=kwargs)
        made[f"sentence-transformers, {precision}"] = partial(other.encode, show_progress_bar=False)
    for rounding in get_args(get_type_hints(Onnx)["precision"]):
        exported = folder / rounding
        exported.mkdir()
        Onnx(precision=rounding).write(BiEncoder.load("minilm", precision="float32", device="cpu"), exported)
        made[f"encloze, ONNX, {rounding}"] = OnnxEncoder(exported, rounding).encode_documents
    return made


def seconds(encode: Encode, texts: list[str], times: int = 1) -> float:
    """Return the CPU time of encoding the texts, for each text of each time."""
    start = time.process_time()
    for _ in range(times):
        encode(texts)
    return (time.process_time() - start) / len(texts) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="python_docs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    texts = list(itertools.islice(Corpus.load(arguments.corpus).texts(), 4000))
    random.Random(0).shuffle(texts)
    folder = tempfile.TemporaryDirectory()
    texts, made = texts[:NUM_TEXTS], encoders(Path(folder.name))
    embeddings = {name: np.asarray(encode(texts), np.float32) for name, encode in made.items()}
    runs: dict[str, dict[str, list[float]]] = {"passages": {}, "query": {}}
    for _ in range(RUNS):
        for name, encode in made.items():
            runs["passages"].setdefault(name, []).append(seconds(encode, texts))
            runs["query"].setdefault(name, []).append(seconds(encode, [QUERY], NUM_QUERIES))
    measured = {
        kind: {
            name: {"median": float(np.median(values) * 1000), "min": min(values) * 1000, "max": max(values) * 1000}
            for name, values in of_kind.items()
        }
        for kind, of_kind in runs.items()
    }
    normalized = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in embeddings.items()}
    reference = normalized["sentence-transformers, float32"]
    cosines = {name: float((rows * reference).sum(axis=1).min()) for name, rows in normalized.items()}
    for name in made:
        passages, query = measured["passages"][name]["median"], measured["query"][name]["median"]
        print(f"{name}: {passages:.2f} ms a passage, {query:.2f} ms a query, lowest cosine {cosines[name]:.6f}")
    result = {"milliseconds": measured, "lowest_cosine": cosines, "texts": NUM_TEXTS, "versions": versions()}
    folder.cleanup()
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Loads an exported model in a process of its own, encodes texts or scores pairs, and measures latencies.

``python -m encloze.exports._reload TASK`` reads the JSON file TASK. It names the exported folder, the backend that
loads it, the kind of the model (``encoder`` or ``reranker``), what is computed and timed, and the folder for results.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.data.records import Representation
from encloze.encoders.base import Encoder, EncoderBackend
from encloze.evaluation.latency import latencies
from encloze.execution.encodings import write_representation


def encode(task: dict[str, Any]) -> dict[str, float]:
    """Encode the texts of a task, and return the latency of queries.

    It writes ``queries.npz`` and ``documents.npz``, and their similarity, ``scores.npy`` (float, queries x documents).
    """
    encoder = Encoder.from_pretrained(task["folder"], backend=task["backend"], device="cpu")
    output = Path(task["output"])
    with progress.use_listener(progress.SilentListener()):
        queries = encoder.represent_queries(task["queries"])
        documents = Representation.concatenate(
            list(encoder.represent_documents(task["documents"], len(task["documents"])))
        )
        write_representation(queries, output / "queries.npz")
        write_representation(documents, output / "documents.npz")
        np.save(output / "scores.npy", encoder.similarity(queries, documents))
    return latencies(lambda query: encoder.represent_queries([query]), task["timed"])


def score(task: dict[str, Any]) -> dict[str, float]:
    """Score the pairs of a task, write ``scores.npy``, and return the latency of scoring the pairs of a query."""
    backend = EncoderBackend.member(task["backend"])()
    reranker = backend.load_reranker(task["folder"], device="cpu", precision="auto")
    with progress.use_listener(progress.SilentListener()):
        np.save(Path(task["output"]) / "scores.npy", reranker.score(task["pairs"]))
    return latencies(reranker.score, task["timed"], task["count"])


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    milliseconds = {"encoder": encode, "reranker": score}[content["kind"]](content)
    result = {"milliseconds": milliseconds, "torch": "torch" in sys.modules}
    (Path(content["output"]) / "result.json").write_text(json.dumps(result), encoding="utf-8")

"""Loads an exported model in a process of its own, encodes texts, and measures the latency of single queries.

``python -m encloze.exports._reload TASK`` reads and writes the files that the JSON file TASK names.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.execution.encodings import write_representation

_WARM_UP, _TIMED = 5, 50


class SilentListener(progress.Listener):
    """Listener that drops all reports: the process that waits shows its own."""


def latencies(encoder: Encoder, queries: list[str]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile of the milliseconds in which single queries are encoded."""
    timed = [queries[number % len(queries)] for number in range(_WARM_UP + _TIMED)]
    times = []
    with progress.use_listener(SilentListener()):
        for query in timed:
            began = time.perf_counter()
            encoder.represent_queries([query])
            times.append(1000 * (time.perf_counter() - began))
    return {f"p{p}": float(np.percentile(times[_WARM_UP:], p)) for p in (50, 95, 99)}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Encode the texts of a task, and write their vectors. Return what was measured."""
    encoder = Encoder.from_pretrained(task["folder"], backend=task["backend"])
    with progress.use_listener(SilentListener()):
        write_representation(encoder.represent_queries(task["queries"]), Path(task["query_vectors"]))
        parts = encoder.represent_documents(task["documents"], len(task["documents"]))
        write_representation(Representation.concatenate(list(parts)), Path(task["document_vectors"]))
    measured: dict[str, Any] = {"milliseconds": latencies(encoder, task["timed"]), "torch": "torch" in sys.modules}
    return measured


if __name__ == "__main__":
    file = Path(sys.argv[1])
    content = json.loads(file.read_text(encoding="utf-8"))
    Path(content["result"]).write_text(json.dumps(run(content)), encoding="utf-8")

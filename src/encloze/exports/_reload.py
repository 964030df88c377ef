"""Loads an exported model in a process of its own, encodes texts, and measures the latency of single queries.

``python -m encloze.exports._reload TASK`` reads and writes the files that the JSON file TASK names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from encloze import progress
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.evaluation.latency import latencies
from encloze.execution.encodings import write_representation


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Encode the texts of a task, and write their vectors. Return what was measured."""
    encoder = Encoder.from_pretrained(task["folder"], backend=task["backend"])
    with progress.use_listener(progress.SilentListener()):
        write_representation(encoder.represent_queries(task["queries"]), Path(task["query_vectors"]))
        parts = encoder.represent_documents(task["documents"], len(task["documents"]))
        write_representation(Representation.concatenate(list(parts)), Path(task["document_vectors"]))
    milliseconds = latencies(lambda query: encoder.represent_queries([query]), task["timed"])
    return {"milliseconds": milliseconds, "torch": "torch" in sys.modules}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    content = json.loads(file.read_text(encoding="utf-8"))
    Path(content["result"]).write_text(json.dumps(run(content)), encoding="utf-8")

"""Measure the CPU time of commands from a cold shell: the help of every command, and one search with BM25.

    python benchmarks/startup.py --corpus medquad

Every command runs in a new process, in turn; the figures are CPU seconds of the process, the medians of all runs. The
first run, which compiles modules to bytecode, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from encloze.commands.base import Command
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "startup.json"
RUNS = 5


def cpu_seconds(*arguments: str) -> float:
    """Run a command of encloze and return its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-m", "encloze", *arguments], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="python_docs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        cpu_seconds("index", "--corpus", arguments.corpus, "--indexes", "bm25", "--output", index)
        calls = {f"{name} --help": [name, "--help"] for name in Command.members()}
        calls["search with BM25"] = ["search", "--index", index, "--query", "what causes glaucoma"]
        runs: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(RUNS + 1):
            for name, call in calls.items():
                runs[name].append(cpu_seconds(*call))
    measured = {
        name: {"median": round(float(np.median(seconds[1:])), 3), "max": round(max(seconds[1:]), 3)}
        for name, seconds in runs.items()
    }
    for name, figures in measured.items():
        print(f"{name:<28} {figures['median']:.3f} s, at most {figures['max']:.3f} s")
    result = {"cpu_seconds": measured, "versions": versions()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

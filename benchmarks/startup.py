"""Measure the CPU time of commands from a cold shell: the help of every command, and searches.

    python benchmarks/startup.py --corpus medquad

Every command runs in a new process, in turn; the figures are CPU seconds of the process, the medians of all runs. The
searches, in 500 documents, use BM25, MiniLM, and MiniLM exported to ONNX, which needs no torch. The first run, which
compiles modules to bytecode, is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "startup.json"
RUNS, NUM_DOCUMENTS = 5, 500


_PROGRAM = """
import atexit, re, runpy, sys
file = sys.argv.pop(1)
status = lambda: open("/proc/self/status").read()
atexit.register(lambda: open(file, "w").write(re.search(r"VmHWM:\\s+(\\d+)", status())[1]))
runpy.run_module("encloze", run_name="__main__", alter_sys=True)
"""
"""Runs encloze, and writes the peak memory in kB. The figure of wait4 includes that of the parent process."""


class Cost(NamedTuple):
    """What a process has used."""

    cpu_seconds: float
    wall_seconds: float
    megabytes: float  # at its peak


def cost(*arguments: str) -> Cost:
    """Run a command of encloze, and return what it has used."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-c", _PROGRAM, file.name, *arguments]
        return _cost(command, environment, began, Path(file.name))


def _cost(command: list[str], environment: dict[str, str], began: float, peak: Path) -> Cost:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[3:])} failed")
    wall_seconds = time.perf_counter() - began
    return Cost(used.ru_utime + used.ru_stime, wall_seconds, int(peak.read_text() or 0) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="python_docs")
    arguments = parser.parse_args()
    calls = {f"{name} --help": [name, "--help"] for name in Command.members()}
    with tempfile.TemporaryDirectory() as folder:
        documents = str(Path(folder) / "documents.jsonl")
        texts = itertools.islice(Corpus.load(arguments.corpus), NUM_DOCUMENTS)
        rows = [json.dumps({"id": one.id, "title": one.title, "text": one.text}) + "\n" for one in texts]
        Path(documents).write_text("".join(rows), encoding="utf-8")
        systems = {"BM25": ["--indexes", "bm25"], "MiniLM": ["--model", "minilm"]}
        for precision in ("float32", "int8"):
            exported = str(Path(folder) / precision)
            cost(
                "export",
                "--model",
                "minilm",
                "--format",
                f"{{type: onnx, precision: {precision}}}",
                "--output",
                exported,
            )
            systems[f"MiniLM, ONNX {precision}"] = ["--model", exported]
        for name, settings in systems.items():
            index = str(Path(folder) / f"index of {name}")
            cost("index", "--corpus", documents, *settings, "--output", index)
            calls[f"search with {name}"] = ["search", "--index", index, "--query", "what causes glaucoma"]
        runs: dict[str, list[Cost]] = {name: [] for name in calls}
        for _ in range(RUNS + 1):
            for name, call in calls.items():
                runs[name].append(cost(*call))
    measured = {
        name: {
            kind: round(float(np.median(values)), 3)
            for kind, values in zip(Cost._fields, zip(*costs[1:], strict=True), strict=True)
        }
        | {"most_cpu_seconds": round(max(one.cpu_seconds for one in costs[1:]), 3)}
        for name, costs in runs.items()
    }
    for name, figures in measured.items():
        print(f"{name:<34} " + ", ".join(f"{kind} {value:g}" for kind, value in figures.items()))
    RESULTS.write_text(json.dumps({"measured": measured, "versions": versions()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

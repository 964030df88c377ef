"""Measure the memory of mining and scoring with 10,000, 40,000 and 160,000 documents.

    python benchmarks/memory_of_mining.py --corpora docs-cpp medquad insuranceqa

The texts of the corpora are repeated as necessary. The model is untrained, with a dense and a sparse view, because the
quality of its rankings does not matter. Scored are random documents, the same at every size. The memory is the highest
RssAnon of a process, which excludes memory-mapped files, sampled every 20 ms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from encloze.commands.base import get_command
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.recipe import build
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "memory_of_mining.json"
SIZES = (10_000, 40_000, 160_000)
NUM_QUERIES, QUERY_STRIDE, SCORED_PER_QUERY = 200, 50, 50
POLL_SECONDS = 0.02
SHORT_TEXTS = {"max_query_tokens": 16, "max_document_tokens": 32}  # the number of texts matters, not their length

Memory = dict[str, dict[str, dict[str, float]]]
"""Megabytes and seconds by measurement and number of documents."""


def write_dataset(folder: Path, corpora: list[Path], size: int) -> None:
    """Write ``size`` documents in BEIR's layout, with queries that are words of every 50th document."""
    texts = itertools.chain.from_iterable(Corpus.from_format(Format.from_name(str(path))).texts() for path in corpora)
    (folder / "qrels").mkdir(parents=True)
    long_texts = [text for text in texts if len(text.split()) > 20]
    random.Random(0).shuffle(long_texts)  # the same mix of lengths at every size
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as stream:
        for number, text in enumerate(itertools.islice(itertools.cycle(long_texts), size)):
            stream.write(json.dumps({"_id": f"document-{number}", "text": text}) + "\n")
    numbers = range(0, NUM_QUERIES * QUERY_STRIDE, QUERY_STRIDE)
    queries = [json.dumps({"_id": f"q{n}", "text": " ".join(long_texts[n].split()[3:9])}) + "\n" for n in numbers]
    (folder / "queries.jsonl").write_text("".join(queries), encoding="utf-8")
    rows = "".join(f"q{n}\tdocument-{n}\t1\n" for n in numbers)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8")


def write_run(file: Path, size: int) -> None:
    """Write a run with random documents, of the first ``size``, for every query."""
    rng = random.Random(0)
    lines = (
        f"q{n} Q0 document-{document} {rank} {1 / rank:.6f} random\n"
        for n in range(0, NUM_QUERIES * QUERY_STRIDE, QUERY_STRIDE)
        for rank, document in enumerate(rng.sample(range(size), SCORED_PER_QUERY), 1)
    )
    file.write_text("".join(lines), encoding="utf-8")


def write_model(folder: Path, dataset: Path) -> None:
    """Write a tiny encoder with both views, trained for one step."""
    training = {"steps": 1, "learning_rate": 1e-9}
    heads = [{"type": "dense", "dim": 384}, {"type": "sparse", "document_top_k": 64, "query_top_k": 16}]
    model = {"type": "scratch", "size": "tiny", "tokenizer": {"vocab_size": 4096}}
    settings = {"dataset": str(dataset), "model": model, "heads": heads, "training": training, "output": str(folder)}
    run_command("finetune", settings | SHORT_TEXTS)


def run_command(name: str, settings: dict[str, Any]) -> None:
    build(get_command(name), settings, source=name).run()


def measure(name: str, settings: dict[str, Any]) -> dict[str, float]:
    """Run a command in this process, and return its highest anonymous memory in MB and its seconds."""
    samples, finished = [0.0], threading.Event()

    def sample_memory() -> None:
        while not finished.wait(POLL_SECONDS):
            status = Path("/proc/self/status").read_text().splitlines()
            line = next(line for line in status if "RssAnon" in line)
            samples.append(int(line.split()[1]) / 1024)

    sampler = threading.Thread(target=sample_memory)
    sampler.start()
    start = time.perf_counter()
    try:
        run_command(name, settings)
    finally:
        finished.set()
        sampler.join()
    return {"megabytes": max(samples), "seconds": time.perf_counter() - start}


def measure_in_new_process(name: str, settings: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", name, "--settings", json.dumps(settings)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def measure_all(corpora: list[Path], sizes: list[int], only: list[str] | None, memory: Memory) -> None:
    """Add the measurements at each size to ``memory``."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        for size in sizes:
            dataset, candidates = Path(folder, str(size)), Path(folder, f"{size}.trec")
            write_dataset(dataset, corpora, size)
            write_run(candidates, min(sizes))
            if not model.exists():
                write_model(model, dataset)
            Corpus.from_format(Format.from_name(str(dataset)))  # fills the cache
            commands: dict[str, tuple[str, dict[str, Any]]] = {
                "mine with bm25": ("mine", {"sources": ["bm25"]}),
                "mine with both views of a model": ("mine", {"sources": [{"type": "model", "model": str(model)}]}),
                "score": ("score", {"model": str(model), "candidates": str(candidates)}),
            }
            for title in only or commands:
                name, settings = commands[title]
                settings |= {"dataset": str(dataset), "output": str(Path(folder, f"{size}-{title}"))}
                memory.setdefault(title, {})[str(size)] = measure_in_new_process(name, settings)
                print(size, title, memory[title][str(size)], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", nargs="+", type=Path, default=[])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--only", nargs="+", help="measurements to repeat; the other results are kept")
    parser.add_argument("--measure", help="command to measure in this process (internal)")
    parser.add_argument("--settings", type=json.loads)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.settings)))
        return
    saved = json.loads(RESULTS.read_text(encoding="utf-8")) if arguments.only else {}
    memory: Memory = {title: sizes for title, sizes in saved.items() if title not in ("growth", "versions")}
    measure_all(arguments.corpora, arguments.sizes, arguments.only, memory)
    growth = {}
    for title, sizes in memory.items():
        megabytes = [figures["megabytes"] for figures in sizes.values()]
        growth[title] = max(megabytes) / min(megabytes) - 1
    result = {"growth": growth, **memory, "versions": versions()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(growth, indent=1))


if __name__ == "__main__":
    main()

"""Compare the predictions of ``encloze plan`` with measurements at four sizes.

    python benchmarks/plan.py --part encoding
    python benchmarks/plan.py --part hnsw
    python benchmarks/plan.py --part ivf
    python benchmarks/plan.py --part texts

The plan is made from 1,000 documents of the documentation of Python, in a process of its own. Then other documents are
encoded, and indexes are built, opened and searched, each in a new process. The encoder is a BERT with random weights
and the tokenizer of minilm. Documents of the parts ``encoding`` and ``texts`` are real ones; the vectors of the other
parts are those of 1,000 other documents, resampled with noise. All processes have one thread, and times are those of
the processor instead of the clock, so that other programs on the machine change them less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import encloze
from encloze import Corpus, Encoder, recipe
from encloze.commands._plan_indexes import enlarge
from encloze.data.field_columns import write_field_columns
from encloze.data.records import Document, Representation, full_text
from encloze.evaluation.latency import latencies
from encloze.execution.encodings import encode_corpus
from encloze.retrieval.tuning import snippet
from encloze.search.indexes.base import Index
from encloze.storage.disk import size_of
from encloze.storage.model_folders import locate
from encloze.storage.provenance import versions
from encloze.systems._memory import PeakMemory, anonymous_memory, release_free_memory

RESULTS = Path(__file__).parent / "results" / "plan.json"
SIZES = {
    "encoding": (500, 1000, 2000, 4000),
    "hnsw": (10_000, 20_000, 40_000, 80_000),
    "ivf": (10_000, 20_000, 40_000, 80_000),
    "texts": (1000, 2000, 4000, 7000),
}
INDEXES: dict[str, tuple[str | dict[str, str], ...]] = {
    "encoding": ("flat",),
    "hnsw": ("flat", "hnsw"),
    "ivf": tuple({"type": "ivf", "storage": kind} for kind in ("float32", "fp16", "int8", "rabitq")),
    "texts": ("bm25",),
}
SAMPLE, QUERIES, DEPTH, PART = 1000, 50, 10, 4096
COSTS = ("build_seconds", "disk_bytes", "memory_bytes", "build_bytes", "milliseconds")


def write_model(folder: Path, dim: int) -> None:
    """Write a BERT of two layers with random weights, and the tokenizer of minilm."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(locate("minilm")))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        num_hidden_layers=2,
        num_attention_heads=dim // 32,
        intermediate_size=4 * dim,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_corpus(documents: list[Document], folder: Path) -> Path:
    """Write documents as a corpus in the layout of BEIR."""
    folder.mkdir()
    rows = [json.dumps({"_id": one.id, "title": one.title, "text": one.text}) + "\n" for one in documents]
    (folder / "corpus.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


def plan(part: str, corpus: Path, model: Path, output: Path, seconds: float) -> dict[str, Any]:
    """Run ``encloze plan`` in a new process, and return what it predicts."""
    settings = {"seconds": seconds, "indexes": INDEXES[part], "output": str(output)}
    settings |= {} if part == "texts" else {"model": str(model)}
    in_new_process(run_plan, str(corpus), SIZES[part], settings)
    result: dict[str, Any] = json.loads((output / "plan.json").read_text(encoding="utf-8"))
    return result


def use_processor_time() -> None:
    """Let this process measure processor time with one thread."""
    import faiss
    import torch

    time.perf_counter = time.process_time
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


def run_plan(corpus: str, documents: list[int], settings: dict[str, Any]) -> None:
    """Run ``encloze plan``, which measures processor time."""
    use_processor_time()
    encloze.plan(corpus, documents, **settings)


def in_new_process(function: Any, *arguments: Any) -> Any:
    """Return what a function returns in a process that has allocated nothing before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def encode(corpus: Path, model: Path) -> dict[str, float]:
    """Encode documents as the command ``index`` does; return the seconds and the peak memory."""
    os.environ["ENCLOZE_ENCODINGS"] = "0"  # nothing is read from the cache
    use_processor_time()
    documents, encoder = Corpus.load(str(corpus)), Encoder.from_pretrained(str(model))
    encoder.encode_documents([full_text(one.title, one.text) for one in documents[:8]])
    with PeakMemory() as peak:
        began = time.perf_counter()
        for _ in encode_corpus(encoder, documents):
            pass
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory_bytes": peak.bytes}


def build(index: Index, source: Path, size: int, folder: Path) -> dict[str, float]:
    """Build an index of vectors (.npy) or texts (.jsonl), open it and search it; return its costs."""
    use_processor_time()
    texts, vectors, queries = list[str](), np.empty(0, np.float32), list[Any]()
    if source.suffix == ".npy":
        vectors = np.load(source)[:size]
        queries = [Representation(dense=vectors[row, None]) for row in range(QUERIES)]
    else:
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()[:size]]
        texts = [full_text(row["title"], row["text"]) for row in rows]
        draw = np.random.default_rng(1)
        queries = [[snippet(text, draw)] for text in texts[:QUERIES]]
    settings = index.with_defaults(lambda: texts)
    few = small(folder)
    settings.build(texts[:20] or Representation(dense=vectors[:20]), few)
    latencies(lambda query: settings.open(few).search(query, DEPTH), queries)  # imports and compiles
    release_free_memory()
    before = anonymous_memory()
    with PeakMemory() as peak:
        began = time.perf_counter()
        builder = settings.builder(folder)
        for start in range(0, size, PART):
            part = slice(start, start + PART)
            builder.add(texts[part] if texts else Representation(dense=vectors[part]))
        builder.finish()
        seconds = time.perf_counter() - began
    first = settings.open(folder)
    latencies(lambda query: first.search(query, DEPTH), queries)
    release_free_memory()
    opened = anonymous_memory()
    searcher = settings.open(folder)
    timed = latencies(lambda query: searcher.search(query, DEPTH), queries)
    release_free_memory()
    memory = index.memory(folder) + max(0, anonymous_memory() - opened)
    return dict(zip(COSTS, (seconds, size_of(folder), memory, peak.bytes - before, timed["p50"]), strict=True))


def small(folder: Path) -> Path:
    """Return a new folder beside another one."""
    return Path(tempfile.mkdtemp(dir=folder.parent))


def compared(predicted: float, measured: float) -> dict[str, float]:
    """Return a prediction, the measurement and their ratio."""
    return {"predicted": predicted, "measured": measured, "ratio": round(predicted / measured, 3) if measured else 0.0}


def compare_encoding(documents: list[Document], model: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Return predicted and measured time and memory of encoding."""
    result = plan("encoding", write_corpus(documents[:SAMPLE], folder / "sample"), model, folder / "plan", seconds)
    found = {}
    for costs in result["costs"]:
        count = costs["documents"]
        corpus = write_corpus(documents[-count:], folder / str(count))
        measured = in_new_process(encode, corpus, model)
        found[str(count)] = {
            "seconds": compared(costs["encoding_seconds"]["value"], measured["seconds"]),
            "memory_bytes": compared(result["encoding"]["memory_bytes"], measured["memory_bytes"]),
        }
        print(count, found[str(count)], flush=True)
    return {"encoding": found}


def compare_indexes(
    part: str, documents: list[Document], model: Path, folder: Path, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return predicted and measured costs of each index, and the sizes of texts."""
    corpus = write_corpus(documents[:SAMPLE], folder / "sample")
    result = plan(part, corpus, model, folder / "plan", seconds)
    if part == "texts":
        source = write_corpus(documents[SAMPLE:], folder / "others") / "corpus.jsonl"
    else:
        others = documents[SAMPLE : 2 * SAMPLE]
        texts = [full_text(one.title, one.text) for one in others]
        encoded = Encoder.from_pretrained(str(model)).encode_documents(texts)
        source = folder / "vectors.npy"
        np.save(source, enlarge(Representation(dense=encoded), max(SIZES[part])).dense)
    found: dict[str, dict[str, Any]] = {}
    for number, index in enumerate(recipe.coerce(tuple[Index, ...], INDEXES[part], source="", name="indexes")):
        for costs in result["costs"]:
            size, target = costs["documents"], folder / f"{number}-{costs['documents']}"
            target.mkdir()
            measured = in_new_process(build, index, source, size, target)
            predicted = costs["indexes"][number]
            rows = {name: compared(predicted[name]["value"], measured[name]) for name in COSTS}
            found.setdefault(predicted["index"], {})[str(size)] = rows
            print(predicted["index"], size, rows, flush=True)
    if part == "texts":
        written = Corpus.load(str(folder / "others"))
        for costs in result["costs"]:
            count = costs["documents"]
            Corpus.from_documents(written[:count], folder / "documents.arrow")
            write_field_columns(written[:count], folder / "fields.arrow")
            found.setdefault("texts and fields", {})[str(count)] = {
                f"{name}_bytes": compared(costs[f"{name}_bytes"]["value"], (folder / f"{name}.arrow").stat().st_size)
                for name in ("documents", "fields")
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=sorted(SIZES), required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="time of the plan")
    parser.add_argument("--dim", type=int, default=128, help="dimensions of the model")
    arguments = parser.parse_args()
    corpus = Corpus.load("python_docs")
    documents = corpus.take(np.random.default_rng(0).permutation(len(corpus)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = folder / "model"
        write_model(model, arguments.dim)
        if arguments.part == "encoding":
            found = compare_encoding(documents, model, folder, arguments.seconds)
        else:
            found = compare_indexes(arguments.part, documents, model, folder, arguments.seconds)
    for name, sizes in found.items():
        for size, costs in sizes.items():
            ratios = ", ".join(f"{cost} {row['measured']:.4g} (ratio {row['ratio']})" for cost, row in costs.items())
            print(f"{name}, {size}: {ratios}", flush=True)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results[arguments.part] = {"seconds of the plan": arguments.seconds, "dim": arguments.dim, "costs": found}
    RESULTS.write_text(json.dumps({**results, "versions": versions()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

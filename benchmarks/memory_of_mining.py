"""What mining and scoring hold in memory with 10,000, 40,000 and 160,000 documents: mapped files apart.

    python benchmarks/memory_of_mining.py --corpora docs-cpp medquad insuranceqa

The texts of the corpora are taken as often as it needs. The model is untrained, with a dense and a sparse view, since
what it finds does not matter here; what is scored are documents by chance, the same at every size. The highest RssAnon
of each process counts, which is looked at every 20 ms.
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

from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.recipe import build
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "memory_of_mining.json"
SIZES = (10_000, 40_000, 160_000)
QUERIES, SCORED = 200, 50
EVERY = 0.02  # seconds
SHORT = {"max_query_tokens": 16, "max_document_tokens": 32}  # it is the number of texts that counts


def write_dataset(folder: Path, corpora: list[Path], count: int) -> None:
    """So many documents in BEIR's layout; the first words of every fiftieth of the first ask for it."""
    texts = itertools.chain.from_iterable(Corpus.open(Format.named(str(path))).texts() for path in corpora)
    (folder / "qrels").mkdir(parents=True)
    kept = [text for text in texts if len(text.split()) > 20]
    random.Random(0).shuffle(kept)  # the same mix at every size: a few long texts together take memory, too
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as stream:
        for number, text in enumerate(itertools.islice(itertools.cycle(kept), count)):
            stream.write(json.dumps({"_id": f"document-{number}", "text": text}) + "\n")
    asked = range(0, QUERIES * 50, 50)
    queries = [json.dumps({"_id": f"q{n}", "text": " ".join(kept[n].split()[3:9])}) + "\n" for n in asked]
    (folder / "queries.jsonl").write_text("".join(queries), encoding="utf-8")
    judged = "".join(f"q{n}\tdocument-{n}\t1\n" for n in asked)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")


def write_run(file: Path, count: int) -> None:
    """Documents by chance, of the first so many, for every query."""
    draw = random.Random(0)
    lines = (
        f"q{n} Q0 document-{document} {rank} {1 / rank:.6f} chance\n"
        for n in range(0, QUERIES * 50, 50)
        for rank, document in enumerate(draw.sample(range(count), SCORED), 1)
    )
    file.write_text("".join(lines), encoding="utf-8")


def write_model(folder: Path, corpus: Path) -> None:
    """A tiny encoder with both views, trained for one step."""
    training = {"steps": 1, "learning_rate": 1e-9}
    heads = [{"type": "dense", "width": 384}, {"type": "sparse", "document_top_k": 64, "query_top_k": 16}]
    scratch = {"type": "scratch", "size": "tiny", "tokenizer": {"vocabulary": 4096}}
    run("finetune", dataset=str(corpus), model=scratch, heads=heads, training=training, output=str(folder), **SHORT)


def run(verb: str, **settings: Any) -> None:
    build(Command.member(verb), settings, source=verb).run()


def measured(verb: str, settings: dict[str, Any]) -> dict[str, float]:
    """Run a verb in this process; its highest anonymous memory in MB, and the seconds it took."""
    highest, done = [0.0], threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line)
            highest.append(int(line.split()[1]) / 1024)

    looking = threading.Thread(target=look)
    looking.start()
    began = time.perf_counter()
    try:
        run(verb, **settings)
    finally:
        done.set()
        looking.join()
    return {"megabytes": max(highest), "seconds": time.perf_counter() - began}


def in_a_process(verb: str, **settings: Any) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", verb, "--settings", json.dumps(settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--corpora", nargs="+", type=Path, default=[])
    arguments.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    arguments.add_argument("--only", nargs="+", help="what to measure again; the other results stay")
    arguments.add_argument("--measure")
    arguments.add_argument("--settings", type=json.loads)
    given = arguments.parse_args()
    if given.measure:
        print(json.dumps(measured(given.measure, given.settings)))
        return
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if given.only else {}
    found: dict[str, dict[str, dict[str, float]]] = {
        n: of for n, of in before.items() if n not in ("grown", "versions")
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for size in given.sizes:
            write_dataset(place / str(size), given.corpora, size)
            write_run(place / f"{size}.trec", min(given.sizes))
            model, data = str(place / "model"), str(place / str(size))
            if not Path(model).exists():
                write_model(Path(model), place / str(size))
            Corpus.open(Format.named(data))  # read and checked once, as in any work with it
            verbs: dict[str, tuple[str, dict[str, Any]]] = {
                "mine with bm25": ("mine", {"sources": ["bm25"]}),
                "mine with both views of a model": ("mine", {"sources": [{"type": "model", "model": model}]}),
                "score": ("score", {"model": model, "candidates": str(place / f"{size}.trec")}),
            }
            for name in given.only or verbs:
                verb, more = verbs[name]
                output = str(place / f"{size}-{name}")
                found.setdefault(name, {})[str(size)] = in_a_process(verb, dataset=data, output=output, **more)
                print(size, name, found[name][str(size)], flush=True)
    grown = {
        name: max(of["megabytes"] for of in sizes.values()) / min(of["megabytes"] for of in sizes.values()) - 1
        for name, sizes in found.items()
    }
    RESULTS.write_text(json.dumps({"grown": grown, **found, "versions": versions()}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(grown, indent=1))


if __name__ == "__main__":
    main()

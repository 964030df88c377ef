"""Compare collections in search engines with own exact indexes: the same results, and the time of builds and searches.

    python benchmarks/engines.py --corpus FILE [--engines milvus qdrant] [--documents 20000]

The texts are real; the embeddings (384 dimensions) and term weights (60 of 30,000 terms) are random, the same for the
same text, because only their sizes matter here. The queries are beginnings of documents. Results are equal if the ids
of the ten best documents are the same except for ties, and their scores to 1e-4. Latencies are wall-clock milliseconds
of single queries; the encoder, which needs no model here, takes less than one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from encloze import Corpus, Retriever
from encloze.data.records import Hit, Representation
from encloze.similarity import Similarity
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "engines.json"
DIM, TERMS, ACTIVE, QUERY_ACTIVE = 384, 30_000, 60, 20
VIEWS = {"flat": ["flat"], "inverted": ["inverted"], "bm25": ["bm25"], "hybrid": ["flat", "inverted", "bm25"]}
FILTERS = (None, "position == 0", "position > 0 and not id.startswith('p00001')")
TOLERANCE = 1e-4


class RandomEncoder:
    """Encoder whose embeddings and term weights are random numbers, the same for the same text."""

    name = fingerprint = arithmetic = "random"
    views = {"dense": DIM, "sparse": TERMS}  # noqa: RUF012 - never written to
    similarity = Similarity()

    def represent_queries(self, texts: Sequence[str], active: int = QUERY_ACTIVE) -> Representation:
        dense, terms, weights = np.empty((len(texts), DIM), np.float32), list[np.ndarray](), list[np.ndarray]()
        for row, text in enumerate(texts):
            generator = np.random.default_rng(zlib.crc32(text.encode()))
            dense[row] = generator.normal(size=DIM)
            terms.append(np.sort(generator.choice(TERMS, active, replace=False)))
            weights.append(generator.exponential(size=active).astype(np.float32))
        dense /= np.linalg.norm(dense, axis=1, keepdims=True)
        ends = np.arange(len(texts) + 1) * active
        return Representation(
            dense, csr_matrix((np.concatenate(weights), np.concatenate(terms), ends), (len(texts), TERMS))
        )

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        remaining = iter(texts)
        while part := list(islice(remaining, 2000)):
            yield self.represent_queries(part, ACTIVE)


def equal(own: Sequence[Hit], other: Sequence[Hit]) -> bool:
    """Return whether hits have equal scores, and equal ids where no other hit has the same score."""
    if len(own) != len(other) or any(abs(a.score - b.score) > TOLERANCE for a, b in zip(own, other, strict=True)):
        return False
    scores = np.array([hit.score for hit in own])
    return all(
        a.id == b.id or (np.abs(scores - a.score) <= TOLERANCE).sum() > 1 or place == len(own) - 1
        for place, (a, b) in enumerate(zip(own, other, strict=True))
    )


def searches(retriever: Retriever, queries: Sequence[str], filter_: str | None) -> tuple[list[list[Hit]], list[float]]:
    found, times = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(list(retriever.search(query, 10, filter=filter_)))
        times.append(1000 * (time.perf_counter() - began))
    return found, times


def compare(own: Path, other: Path, encoder: Any, queries: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name, views in VIEWS.items():
        both = [Retriever.load(folder, views=views, encoder=encoder) for folder in (own, other)]
        for filter_ in FILTERS:
            (expected, own_times), (found, times) = (searches(one, queries, filter_) for one in both)
            same = sum(equal(a, b) for a, b in zip(expected, found, strict=True))
            figures: dict[str, Any] = {"equal": same, "queries": len(queries)}
            for side, of_side in (("own", own_times), ("engine", times)):
                figures |= {f"{side}_ms_p50": round(float(np.median(of_side)), 2)}
            rows.append({"views": name, "filter": filter_, **figures})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--engines", nargs="+", default=["milvus", "qdrant"])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=50)
    arguments = parser.parse_args()
    encoder: Any = RandomEncoder()
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = Corpus.from_documents(Corpus.load(arguments.corpus)[: arguments.documents], folder / "corpus.arrow")
        rows = np.linspace(0, len(corpus) - 1, arguments.queries).astype(np.int64)
        queries = [f"{document.title} {document.text[:60]}" for document in corpus.take(rows)]
        kinds = VIEWS["hybrid"]
        for engine in (None, *arguments.engines):
            began = time.perf_counter()
            target = folder / str(engine)
            Retriever.build(corpus, encoder, indexes=kinds, output=target, engine=engine, fusion="weighted")
            seconds = time.perf_counter() - began
            print(f"{engine or 'own'}: built in {seconds:.1f} s", flush=True)
            if engine is None:
                own_seconds = seconds
            else:
                compared = compare(folder / "None", folder / engine, encoder, queries)
                changed = Retriever.load(folder / engine, encoder=encoder)
                began = time.perf_counter()
                changed.add([{"id": f"new{number}", "text": f"zebra {number}"} for number in range(100)])
                results[f"{engine}, {arguments.documents} documents"] = {
                    "build_seconds": round(seconds, 1),
                    "own_build_seconds": round(own_seconds, 1),
                    "add_100_seconds": round(time.perf_counter() - began, 1),
                    "searches": compared,
                    "versions": versions(),
                }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

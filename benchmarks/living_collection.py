"""Measure hybrid search, filters and additions in a collection of 200,000 documents.

    python benchmarks/living_collection.py --data FOLDER

The documents are the first 60 words of the distinct passages of five collections (see ``dense_search.py``), enlarged by
resampling: a new text is the first half of one passage with the second half of another one of the same collection, and
its embedding is resampled as in ``dense_search.py``. The queries are real. Everything runs with one thread; the figures
are CPU milliseconds, medians (p50) and 95th percentiles (p95) over the queries, without the encoding of the query.

* Hybrid: ``hnsw`` and BM25, the sum of their normalized scores. The recall@10 is measured against all documents: the
  scores of both indexes for every document, with the same normalization.
* Filters: searches in each index among a random half, hundredth and ten-thousandth of the documents, in turn with
  searches among all. The number of hits, and for exact indexes the hits, are compared with brute force.
* Additions: 1,000 documents at once to 160,000, wall-clock seconds, and a search for one of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from dense_search import ALPHA, MAX_PASSAGES, QUERIES_PER_SOURCE, SOURCES, WORDS, encoded

from encloze import Corpus, Dataset, Retriever
from encloze.data.records import Document, Representation
from encloze.retrieval.candidates import encode_for_views, find_candidates, fused_order
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.hnsw import Hnsw
from encloze.similarity import Similarity
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "living_collection.json"
DOCUMENTS, EXISTING, ADDED, NUM_QUERIES = 200_000, 160_000, 1000, 200
SHARES = (0.5, 0.01, 0.0001)


class Stored:
    """Encoder that returns embeddings computed before, by text."""

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors, self.similarity = vectors, Similarity(dense=1.0)
        self.name, self.fingerprint, self.arithmetic, self.views = "stored", "stored", "stored", {"dense": 384}

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        yield Representation(np.stack([self.vectors[text] for text in texts]))

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        return Representation(np.stack([self.vectors[text] for text in texts]))


def collection(data: Path) -> tuple[list[Document], Stored, list[str]]:
    """Return the documents, an encoder of them and of the queries, and the queries."""
    draw, vectors, queries = np.random.default_rng(0), dict[str, np.ndarray](), list[str]()
    texts = list[str]()
    sizes = {source: len(encoded(data, source)[0]) for source in SOURCES}
    for source in SOURCES:
        dataset = Dataset.load(str(data / source))
        passages, of_queries = encoded(data, source)
        originals = dict.fromkeys(" ".join(t.split()[:WORDS]) for t in islice(dataset.corpus.texts(), MAX_PASSAGES))
        listed = list(originals)
        vectors |= dict(zip(listed, passages, strict=True))
        asked = [query.text for query in islice(dataset.split("test").queries, QUERIES_PER_SOURCE)]
        vectors |= dict(zip(asked, of_queries, strict=True))
        queries += asked
        texts += listed
        count = round((DOCUMENTS - sum(sizes.values())) * sizes[source] / sum(sizes.values())) + 1
        for base, plus, minus in draw.integers(len(listed), size=(count, 3)):
            words, others = listed[base].split(), listed[plus].split()
            text = " ".join([*words[: len(words) // 2], *others[len(others) // 2 :]])
            vector = passages[base] + ALPHA * (passages[plus] - passages[minus])
            if text not in vectors:
                vectors[text] = vector / np.linalg.norm(vector)
                texts.append(text)
    order = draw.permutation(len(texts))[:DOCUMENTS]
    documents = [
        Document(str(number), "", texts[place], fields={"number": number}) for number, place in enumerate(order)
    ]
    chosen = draw.choice(len(queries), NUM_QUERIES, replace=False)
    return documents, Stored(vectors), [queries[number] for number in chosen]


def times(searches: Mapping[str, Callable[[Any], object]], queries: Sequence[str]) -> dict[str, list[float]]:
    """Return the median and the 95th percentile of the CPU milliseconds of each search; all searches run in turn."""
    measured: dict[str, list[float]] = {name: [] for name in searches}
    for run in range(3):  # the first run warms up
        for query in queries:
            for name, search in searches.items():
                start = time.process_time()
                search(query)
                if run:
                    measured[name].append((time.process_time() - start) * 1000)
    return {name: [round(float(v), 3) for v in np.percentile(of, [50, 95])] for name, of in measured.items()}


def hybrid_recall(retriever: Retriever, queries: Sequence[str]) -> float:
    """Return the share of the ten best documents, by the scores of all documents, that a search returns."""
    everything, found = [np.arange(len(retriever))], list[float]()
    for query in queries:
        (pool,) = find_candidates(retriever.views, [query], 100, retriever.fusion)
        order, _ = fused_order(pool, retriever.fusion)
        encodings = encode_for_views(retriever.views, [query])
        scores = np.stack([v.index.score(q, everything)[0] for v, q in zip(retriever.views, encodings, strict=True)])
        parts = []
        for of_pool, of_all in zip(pool.scores.astype(np.float64), scores.astype(np.float64), strict=True):
            z_pool, z_all = ((s - of_pool.mean()) / of_pool.std() for s in (of_pool, of_all))
            parts.append(np.exp((z_all - z_pool.max()) / 3) / np.exp((z_pool - z_pool.max()) / 3).sum())
        best = np.argsort(-np.sum(parts, axis=0), kind="stable")[:10]
        found.append(float(np.isin(best, pool.numbers[order][:10]).mean()))
    return round(float(np.mean(found)), 4)


def filters(retriever: Retriever, queries: Sequence[str]) -> dict[str, Any]:
    """Return, by index and share of allowed documents, the times of searches, and the ratio to all documents."""
    result: dict[str, Any] = {}
    for view in retriever.views:
        masks: dict[str, np.ndarray | None] = {"all": None}
        for share in SHARES:
            masks[str(share)] = np.random.default_rng(1).random(len(retriever)) < share

        def encode(query: str, encoder: Any = view.encoder) -> Any:
            return encoder.represent_queries([query]) if encoder else [query]

        searches = {
            name: (lambda query, mask=mask, index=view.index: index.search(encode(query), 10, mask))
            for name, mask in masks.items()
        }
        measured = times(searches, queries)
        for name, mask in masks.items():
            if mask is None:
                continue
            for query in queries[:20]:
                (numbers,), (scores,) = view.index.search(encode(query), 10, mask)
                (all_scores,) = view.index.score(encode(query), [np.flatnonzero(mask)])
                matching = len(all_scores) if view.index.input_type == "dense" else int((all_scores > 0).sum())
                assert (numbers >= 0).sum() == min(10, matching), (view.name, name)
                if view.name != "hnsw" or mask.sum() < 10_000:
                    np.testing.assert_allclose(
                        scores[numbers >= 0], -np.sort(-all_scores)[: min(10, matching)], rtol=1e-4
                    )
        base = measured["all"][0]
        result[view.name] = {name: [*of, round(of[0] / base, 2)] for name, of in measured.items()}
        print(view.name, result[view.name], flush=True)
    return result


def additions(documents: Sequence[Document], encoder: Stored, folder: Path) -> dict[str, float]:
    """Return the seconds that it takes to add 1,000 documents at once, then ten one by one, and to delete 1,000."""
    corpus = Corpus.from_documents(documents[:EXISTING], folder / "existing.arrow")
    indexes = [Hnsw(), Bm25()]
    retriever = Retriever.build(corpus, encoder, indexes=indexes, fusion="weighted", output=folder / "growing")  # type: ignore[arg-type]
    new = Corpus.from_documents(documents[EXISTING : EXISTING + ADDED], folder / "new.arrow")
    start = time.perf_counter()
    retriever.add(new)
    added = time.perf_counter() - start
    wanted = documents[EXISTING + ADDED - 1]
    assert retriever.search(wanted.text, 1)[0].id == wanted.id
    start = time.perf_counter()
    for document in documents[EXISTING + ADDED : EXISTING + ADDED + 10]:
        retriever.add([document])
    singly = (time.perf_counter() - start) / 10
    start = time.perf_counter()
    retriever.delete([document.id for document in documents[:ADDED]])
    deleted = time.perf_counter() - start
    start = time.perf_counter()
    retriever.compact()
    compacted = time.perf_counter() - start
    seconds = {"add 1,000": added, "add 1": singly, "delete 1,000": deleted, "compact": compacted}
    return {name: round(value, 3) for name, value in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the collections in BEIR layout")
    data = parser.parse_args().data
    faiss.omp_set_num_threads(1)
    documents, encoder, queries = collection(data)
    result: dict[str, Any] = {"documents": len(documents), "queries": len(queries)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["seconds"] = additions(documents, encoder, folder)
        print(result["seconds"], flush=True)
        corpus = Corpus.from_documents(documents, folder / "corpus.arrow")
        indexes = [Flat(), Hnsw(), Bm25()]
        built = Retriever.build(corpus, encoder, indexes=indexes, fusion="weighted", output=folder / "index")  # type: ignore[arg-type]
        result["filters"] = filters(built, queries)
        hybrid = Retriever(built.corpus, built.views[1:])
        searches = {
            "hybrid": lambda query: hybrid.search(query, 10),
            "hnsw": lambda query: Retriever(built.corpus, built.views[1:2]).search(query, 10),
            "bm25": lambda query: Retriever(built.corpus, built.views[2:]).search(query, 10),
        }
        result["hybrid"] = times(searches, queries) | {"recall@10": hybrid_recall(hybrid, queries)}
        print(result["hybrid"], flush=True)
    RESULTS.write_text(json.dumps(result | {"versions": versions()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

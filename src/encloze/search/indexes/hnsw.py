"""Approximate search over embeddings with HNSW, a graph of nearest neighbors (Malkov and Yashunin, 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from encloze.search.indexes._approximate import ADDED_AT_ONCE, ApproximateIndex, add_in_batches
from encloze.search.indexes._faiss_files import graph_fault, product_fault, scalar_fault
from encloze.search.indexes._storage import PQ_BITS, load_faiss, pq_bytes, pq_fixed_bytes, pq_work, scalar_kind
from encloze.search.indexes.base import Growth
from encloze.settings import PositiveInt, Range

_SAMPLE_SIZE = 65_536
_MAX_EF = 4096
_STEP_WORK = 3500
"""Time of a step of the build, in comparisons with a centroid, as in ``pq_work``."""


@dataclass(frozen=True)
class Hnsw(ApproximateIndex, name="hnsw"):
    """HNSW index: candidates from a graph of nearest neighbors, rescored exactly.

    The graph and the vectors take ``8 * neighbors`` and, with int8, ``dim`` bytes per document, in addition to the
    memory-mapped float32 embeddings. With one thread (``OMP_NUM_THREADS=1``) the same documents always give the same
    index. With several threads the graphs differ slightly, because the threads insert documents in varying order.

    Example:
        >>> from encloze.data.records import Representation
        >>> embeddings = np.eye(3, dtype=np.float32)
        >>> Hnsw(target_recall=0.99).build(Representation(dense=embeddings), folder)
        >>> Hnsw(target_recall=0.99).open(folder).search(Representation(dense=embeddings[:1]), depth=1).numbers
        array([[0]])
    """

    title: ClassVar[str] = "an hnsw"
    file: ClassVar[str] = "graph.faiss"
    tuned: ClassVar[str] = "ef_search"
    fixed: ClassVar[tuple[str, ...]] = ("neighbors", "ef_construction", "storage", "dim")

    storage: Literal["float32", "fp16", "int8", "pq"] = "int8"
    """How FAISS stores the vectors: ``float32`` (4 bytes per dimension), ``fp16`` (2), ``int8`` (1), or ``pq`` (product
    quantization, a quarter of a byte). With pq the graph is built with int8, which is discarded afterwards."""
    neighbors: Annotated[int, Range(ge=2, le=256)] = 16
    """Number of neighbors that a document gets when it is inserted (M); at most twice as many are stored. More
    neighbors increase the recall and the memory."""
    ef_construction: PositiveInt = 100
    """Number of candidates from which the neighbors of an inserted document are selected. More candidates give a better
    graph and a longer build."""
    ef_search: PositiveInt | None = None
    """Number of candidates that a search keeps while it follows the graph; at least as many as are rescored. By default
    the square root of the number of documents. If only some documents may be returned, it is divided by the square root
    of their fraction."""

    def create(self, embeddings: np.ndarray, sample: np.ndarray) -> Any:
        """Return an HNSW index of the documents (see ``ApproximateIndex.create``)."""
        faiss = load_faiss()

        dim, metric = embeddings.shape[1], faiss.METRIC_INNER_PRODUCT
        num_bytes = pq_bytes(dim) if self.storage == "pq" else 0
        if self.storage == "float32":
            index = faiss.IndexHNSWFlat(dim, self.neighbors, metric)
        else:
            kind = scalar_kind("int8" if self.storage == "pq" else self.storage)
            index = faiss.IndexHNSWSQ(dim, kind, self.neighbors, metric)
        index.hnsw.efConstruction = self.ef_construction
        index.train(sample)
        add_in_batches(index, embeddings, "Building the graph")
        if not num_bytes:
            return index
        # FAISS compares two documents by L2 distance when it builds a graph with pq, even if the metric is the inner
        # product.
        compressed = faiss.IndexHNSWPQ(dim, num_bytes, self.neighbors, PQ_BITS, metric)
        faiss.downcast_index(compressed.storage).pq.cp.min_points_per_centroid = 1  # FAISS prints its warnings
        compressed.train(sample)
        add_in_batches(compressed.storage, embeddings, "Compressing vectors")
        compressed.hnsw, compressed.ntotal = index.hnsw, index.ntotal
        return compressed

    def sample_size(self, num_documents: int) -> int:
        """Return the number of documents to train on."""
        return _SAMPLE_SIZE

    def growth(self, documents: int, dim: int) -> Growth:
        """Return the steps in the graph of the build and of a search (see ``Index.growth``)."""
        steps, fixed = math.log2(max(2, documents)), 0
        build = documents * steps * _STEP_WORK
        if self.storage == "pq":
            build += pq_work(documents, self.sample_size(documents))
            fixed = pq_fixed_bytes(min(self.dim or dim, dim))
        search = (self.ef_search or math.ceil(math.sqrt(documents))) + steps
        build_bytes = self.sample_bytes(documents, dim)
        if documents > ADDED_AT_ONCE:  # FAISS copies the vectors and the graph when they grow
            values = {"float32": 4, "fp16": 2}.get(self.storage, 1) * min(self.dim or dim, dim)
            build_bytes += documents * (values + 8 * self.neighbors)
        return Growth(build, search, fixed, build_bytes)

    def search_parameters(self, value: int, ratio: float, selector: Any) -> Any:
        """Return the search parameters of FAISS (see ``ApproximateIndex.search_parameters``)."""
        faiss = load_faiss()

        return faiss.SearchParametersHNSW(efSearch=math.ceil(value / math.sqrt(ratio)), sel=selector)

    def largest(self, index: Any) -> int:
        """Return the largest useful value of ``ef_search``."""
        return _MAX_EF

    def value(self, index: Any) -> int:
        """Return ``ef_search``; by default a number that depends on the number of documents."""
        return self.ef_search or math.ceil(math.sqrt(index.ntotal))

    def fault(self, index: Any, num_documents: int, dim: int) -> str:
        """Return why a FAISS file is not the index of these settings (see ``ApproximateIndex.fault``)."""
        faiss = load_faiss()

        graph = faiss.downcast_index(index)
        kinds: dict[str, tuple[type, tuple[type, ...]]] = {
            "float32": (faiss.IndexHNSWFlat, (faiss.IndexFlat, faiss.IndexFlatIP)),
            "pq": (faiss.IndexHNSWPQ, (faiss.IndexPQ,)),
        }
        kind, kinds_of_vectors = kinds.get(self.storage, (faiss.IndexHNSWSQ, (faiss.IndexScalarQuantizer,)))
        if type(graph) is not kind:
            return f"expected {kind.__name__}, found {type(graph).__name__}"
        vectors = faiss.downcast_index(graph.storage)
        if type(vectors) not in kinds_of_vectors:
            return f"expected vectors in {kinds_of_vectors[0].__name__}, found {type(vectors).__name__}"
        if (vectors.ntotal, vectors.d, vectors.metric_type) != (num_documents, dim, faiss.METRIC_INNER_PRODUCT):
            return "its vectors have another number, dimension or metric"
        size = {"float32": 4 * dim, "fp16": 2 * dim, "int8": dim}.get(self.storage) or pq_bytes(dim)
        if vectors.code_size != size or vectors.codes.size() != size * num_documents:
            return "its vectors have another size"
        if self.storage == "pq":
            fault = product_fault(vectors.pq, size, dim)
        else:
            fault = "" if self.storage == "float32" else scalar_fault(vectors.sq, scalar_kind(self.storage), dim)
        return fault or graph_fault(graph, self.neighbors)

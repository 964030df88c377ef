"""Index files of FAISS: memory-mapped where the installed version can, and checked before they are searched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from encloze.search.indexes._storage import load_faiss
from encloze.search.npy_files import damaged

_LIMITS = ("deserialization_vector_byte_limit", "deserialization_loop_limit")


def require_file(file: Path) -> None:
    """Raise CheckpointError if a file is missing."""
    if not file.is_file():
        raise damaged(file, "it is missing")


def map_faiss(file: Path) -> Any:
    """Return the index in a file of FAISS, memory-mapped if FAISS can (version 1.11 and later).

    The file must have been checked by ``read_faiss``, because mapping a damaged file can crash the process.
    """
    return _read(file, getattr(load_faiss(), "IO_FLAG_MMAP_IFC", 0))


def read_faiss(file: Path, num_documents: int, dim: int) -> Any:
    """Return the index in a file of FAISS, read into memory.

    Raises:
        CheckpointError: The file is damaged, or its index has another size, dimension or metric.
    """
    index = _read(file, 0)
    if (index.ntotal, index.d) != (num_documents, dim):
        raise damaged(file, f"expected {num_documents} x {dim} numbers, found {index.ntotal} x {index.d}")
    if index.metric_type != load_faiss().METRIC_INNER_PRODUCT:
        raise damaged(file, "its metric is not the inner product")
    if not index.is_trained:
        raise damaged(file, "it is not trained")
    return index


def graph_fault(index: Any, neighbors: int) -> str:
    """Return why the graph of an HNSW index would make a search read invalid memory; an empty string if it would not.

    Args:
        index: The index of FAISS.
        neighbors: Number of neighbors of a document in the upper levels; twice as many in the lowest level.
    """
    faiss = load_faiss()

    graph, num_documents = index.hnsw, index.ntotal
    levels, offsets = faiss.vector_to_array(graph.levels), faiss.vector_to_array(graph.offsets).astype(np.int64)
    cumulative = faiss.vector_to_array(graph.cum_nneighbor_per_level).astype(np.int64)
    expected = np.concatenate([[0], neighbors * np.arange(2, len(cumulative) + 1)])
    if len(cumulative) < 2 or (cumulative != expected).any():
        return f"expected {neighbors} neighbors per document"
    if len(levels) != num_documents or len(offsets) != num_documents + 1:
        return "the graph has another number of documents"
    if levels.min() < 1 or levels.max() >= len(cumulative):
        return "a level is out of range"
    if offsets[0] != 0 or (np.diff(offsets) != cumulative[levels]).any() or offsets[-1] != graph.neighbors.size():
        return "the neighbors do not fit the levels"
    links = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    if links.min() < -1 or links.max() >= num_documents:
        return "the number of a neighbor is out of range"
    if not 0 <= graph.entry_point < num_documents or graph.max_level != levels[graph.entry_point] - 1:
        return "the entry point is out of range"
    for level in range(1, levels.max()):
        rows = np.flatnonzero(levels > level)
        linked = links[offsets[rows, None] + np.arange(cumulative[level], cumulative[level + 1])]
        if (levels[linked[linked >= 0]] <= level).any():
            return "a neighbor does not occur in its level"
    return ""


def lists_fault(index: Any, code_size: int) -> str:
    """Return why the lists of an IVF index do not contain each document once; an empty string if they do.

    Args:
        index: The index of FAISS.
        code_size: Bytes of a stored vector.
    """
    faiss = load_faiss()

    lists = faiss.downcast_InvertedLists(index.invlists)
    if type(lists) is not faiss.ArrayInvertedLists or index.code_size != code_size:
        return "its lists have another type"
    if lists.nlist != index.nlist or lists.code_size != code_size:
        return "its lists have another number or size"
    seen = np.zeros(index.ntotal, bool)
    for number in range(index.nlist):
        if not (size := lists.list_size(number)):
            continue
        ids = faiss.rev_swig_ptr(lists.get_ids(number), size)
        if ids.min() < 0 or ids.max() >= index.ntotal:
            return "the number of a document is out of range"
        seen[ids] = True
    total = sum(lists.list_size(number) for number in range(index.nlist))
    return "" if seen.all() and total == index.ntotal else "a document is missing in the lists"


def quantizer_fault(index: Any) -> str:
    """Return why the centroids of an IVF index do not fit it; an empty string if they do."""
    faiss = load_faiss()

    centroids = faiss.downcast_index(index.quantizer)
    if type(centroids) not in (faiss.IndexFlat, faiss.IndexFlatIP):
        return "its centroids have another type"
    if (centroids.ntotal, centroids.d) != (index.nlist, index.d):
        return "its centroids have another number or dimension"
    return "" if centroids.metric_type == faiss.METRIC_INNER_PRODUCT else "its centroids have another metric"


def scalar_fault(quantizer: Any, kind: int, dim: int) -> str:
    """Return why a scalar quantizer is not of this kind (``faiss.ScalarQuantizer.QT_...``) and dimension."""
    faiss = load_faiss()

    trained = {faiss.ScalarQuantizer.QT_8bit: 2 * dim, faiss.ScalarQuantizer.QT_fp16: 0}[kind]
    if (quantizer.qtype, quantizer.d, quantizer.trained.size()) != (kind, dim, trained):
        return "its vectors are stored in another way"
    return ""


def product_fault(quantizer: Any, num_bytes: int, dim: int) -> str:
    """Return why a product quantizer does not store vectors of ``dim`` dimensions in ``num_bytes`` bytes."""
    found = (quantizer.d, quantizer.M, quantizer.nbits, quantizer.centroids.size())
    return "" if found == (dim, num_bytes, 8, 256 * dim) else "its vectors are stored in another way"


def _read(file: Path, flags: int) -> Any:
    faiss = load_faiss()
    for name in ("IO_FLAG_PQ_SKIP_SDC_TABLE", "IO_FLAG_SKIP_PRECOMPUTE_TABLE"):  # tables for L2 distances
        flags |= getattr(faiss, name, 0)
    try:
        with _size_limits(file.stat().st_size):
            return faiss.read_index(str(file), flags)
    except (RuntimeError, MemoryError) as error:
        raise damaged(file, " ".join(str(error).rpartition("Error: ")[2].split())[:200] or "it is too large") from error


@contextlib.contextmanager
def _size_limits(size: int) -> Iterator[None]:
    """Let FAISS refuse arrays and loops that are longer than a file, within the block; new versions of FAISS can.

    Without these limits, a wrong length in a file lets FAISS allocate all memory.
    """
    faiss = load_faiss()
    names = [name for name in _LIMITS if hasattr(faiss, f"set_{name}")]
    before = {name: getattr(faiss, f"get_{name}")() for name in names}
    try:
        for name in names:
            getattr(faiss, f"set_{name}")(size)
        yield
    finally:
        for name in names:
            getattr(faiss, f"set_{name}")(before[name])

"""Ways in which FAISS stores the vectors of approximate indexes."""

from __future__ import annotations

from typing import Any

PQ_BITS = 8
_MIN_BYTES_PER_DIM = 1 / 16
_PQ_CENTROIDS = 256
_PQ_ITERATIONS, _PQ_SAMPLE = 25, 256 * _PQ_CENTROIDS
_PQ_WORK = 12_000
"""Time to find the codes of a vector with product quantization, in times to compare it with a centroid (measured with
384 dimensions: k-means in subspaces of few dimensions is limited by memory access)."""


def load_faiss() -> Any:
    """Import FAISS when it is needed. The type stubs of FAISS lack classes and arguments, so it has no type here."""
    import faiss

    return faiss


def scalar_kind(storage: str) -> int:
    """Return the constant of FAISS for a scalar quantizer: for ``fp16`` or ``int8``."""
    faiss = load_faiss()

    kinds: dict[str, int] = {"fp16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
    return kinds[storage]


def pq_bytes(dim: int) -> int:
    """Return the bytes of a vector with product quantization: the largest divisor of ``dim`` up to a quarter of it.

    Each byte stands for ``dim / bytes`` dimensions, which are quantized together.

    Raises:
        ValueError: ``dim`` has no suitable divisor.

    Example:
        >>> pq_bytes(384)
        96
    """
    size = next(size for size in range(max(1, dim // 4), 0, -1) if dim % size == 0)
    if size < dim * _MIN_BYTES_PER_DIM:
        raise ValueError(
            f"pq divides embeddings into equal parts of a few dimensions, which is not possible with {dim} dimensions. "
            "Set storage to int8"
        )
    return size


def pq_fixed_bytes(dim: int) -> int:
    """Return the bytes of the codebooks of product quantization, in float32."""
    return 4 * dim * _PQ_CENTROIDS


def pq_work(documents: int, sample: int) -> int:
    """Return the work of training product quantization on a sample and of compressing documents, in comparisons."""
    return _PQ_WORK * (_PQ_ITERATIONS * min(documents, sample, _PQ_SAMPLE) + documents)

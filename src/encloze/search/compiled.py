"""The search in postings lists as a compiled loop, with numba (extra ``fast``).

It gives the same scores as the search with numpy (see ``postings_search``), and skips postings in the same way, in less
time. benchmarks/postings.py and benchmarks/sparse_search.py measure both.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_LOOKUP_COST = 40
"""Time to look up a document in a postings list, relative to the time to add one posting."""

_DENSE = 8
"""Of one in this many documents, each document is looked at rather than a list of those that contain a term."""


def _compiled(function: Any) -> Any:
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder is writable, so it is compiled in each process
        return numba.njit(nogil=True)(function)


@_compiled
def _is_worse(score: float, document: int, other_score: float, other: int) -> bool:
    return score < other_score or (score == other_score and document > other)


@_compiled
def _sink(scores: Any, documents: Any, size: int) -> None:
    """Restore the order of a heap, whose root is the worst document, after its root was replaced."""
    parent = 0
    while True:
        worst = parent
        for child in (2 * parent + 1, 2 * parent + 2):
            if child < size and _is_worse(scores[child], documents[child], scores[worst], documents[worst]):
                worst = child
        if worst == parent:
            return
        scores[parent], scores[worst] = scores[worst], scores[parent]
        documents[parent], documents[worst] = documents[worst], documents[parent]
        parent = worst


@_compiled
def _rise(scores: Any, documents: Any, child: int) -> None:
    """Restore the order of a heap after an element was added at its end."""
    while child > 0:
        parent = (child - 1) // 2
        if not _is_worse(scores[child], documents[child], scores[parent], documents[parent]):
            return
        scores[parent], scores[child] = scores[child], scores[parent]
        documents[parent], documents[child] = documents[child], documents[parent]
        child = parent


@_compiled
def _insert(scores: Any, documents: Any, size: int, score: float, document: int) -> int:
    """Put a document into the heap of the best ones, unless it is full of better ones. Return its size."""
    if size < len(documents):
        scores[size], documents[size] = score, document
        _rise(scores, documents, size)
        return size + 1
    if _is_worse(scores[0], documents[0], score, document):
        scores[0], documents[0] = score, document
        _sink(scores, documents, size)
    return size


@_compiled
def _add_all(offsets: Any, documents: Any, values: Any, terms: Any, weights: Any, sums: Any) -> Any:
    """Add the weights of all terms to the sums of documents. Return the number of documents of the index."""
    for place in range(len(terms)):
        for posting in range(offsets[terms[place]], offsets[terms[place] + 1]):
            sums[documents[posting]] += weights[place] * values[posting]
    return len(sums)


@_compiled
def _add_most(
    offsets: Any,
    documents: Any,
    values: Any,
    terms: Any,
    weights: Any,
    bounds: Any,
    rounding: float,
    sums: Any,
    found: Any,
    allowed: Any,
    heap_scores: Any,
    heap: Any,
) -> Any:
    """Add the weights of terms to the sums of all allowed documents that can be among the best.

    Return the number of documents put in ``found``. The sums of others are 0. If they are a large part of all
    documents, return the number of documents of the index, and leave ``found`` unfinished. Weights must be above 0.
    """
    remaining, bound, done, num_found, is_filtered = 0, bounds.sum(), 0.0, 0, len(allowed) > 0
    for term in terms:
        remaining += offsets[term + 1] - offsets[term]
    for place in range(len(terms)):
        first, last, weight = offsets[terms[place]], offsets[terms[place] + 1], weights[place]
        if num_found + last - first > len(sums) // _DENSE:
            return _add_all(offsets, documents, values, terms[place:], weights[place:], sums)
        for posting in range(first, last):
            document = documents[posting]
            if is_filtered and not allowed[document]:
                continue
            before = sums[document]
            after = before + weight * values[posting]
            sums[document] = after
            found[num_found] = document
            num_found += (before == 0) & (after > 0)
        remaining, bound, done = remaining - (last - first), bound - bounds[place], done + bounds[place]
        if remaining < 2 * num_found or num_found < len(heap) or done <= bound:
            continue
        limit = bound * (1 + rounding)
        lowest = _lowest_of_best(sums, found[:num_found], heap_scores, heap) * (1 - rounding)
        if lowest <= limit:
            continue
        num_candidates = 0
        for document in found[:num_found]:
            num_candidates += sums[document] >= lowest - limit
        if num_candidates * (len(terms) - place - 1) * _LOOKUP_COST < remaining:
            num_found = _keep(sums, found[:num_found], lowest - limit)
            for other in range(place + 1, len(terms)):
                part = slice(offsets[terms[other]], offsets[terms[other] + 1])
                _look_up(documents[part], values[part], weights[other], sums, found[:num_found])
            return num_found
    return num_found


@_compiled
def _lowest_of_best(sums: Any, found: Any, heap_scores: Any, heap: Any) -> Any:
    """Return the lowest of the highest sums of documents, as many as the heap has places; 0 if there are fewer."""
    size, lowest = 0, np.float32(0)
    for document in found:
        score = sums[document]
        if score > lowest:  # calls are slow, so most documents must not reach this one
            size = _insert(heap_scores, heap, size, score, document)
            lowest = heap_scores[0] if size == len(heap) else np.float32(0)
    return lowest


@_compiled
def _keep(sums: Any, found: Any, lowest: float) -> int:
    """Move the documents with sums of at least ``lowest`` to the front, and set the sums of others to 0."""
    kept = 0
    for document in found:
        if sums[document] >= lowest:
            found[kept] = document
            kept += 1
        else:
            sums[document] = 0
    return kept


@_compiled
def _look_up(documents: Any, values: Any, weight: float, sums: Any, candidates: Any) -> None:
    """Add the weights of a term to the sums of documents, which are looked up in its postings list."""
    for document in candidates:
        position = np.searchsorted(documents, document)
        if position < len(documents) and documents[position] == document:
            sums[document] += weight * values[position]


@_compiled
def _write_sorted(heap_scores: Any, heap: Any, size: int, numbers: Any, scores: Any) -> None:
    """Write the documents in a heap and their scores, best first."""
    while size > 0:
        size -= 1
        numbers[size], scores[size] = heap[0], heap_scores[0]
        heap_scores[0], heap[0] = heap_scores[size], heap[size]
        _sink(heap_scores, heap, size)


@_compiled
def search(
    offsets: Any,
    documents: Any,
    values: Any,
    starts: Any,
    terms: Any,
    weights: Any,
    bounds: Any,
    rounding: float,
    sums: Any,
    found: Any,
    allowed: Any,
    numbers: Any,
    scores: Any,
) -> None:
    """Write the best documents of each query, best first, to ``numbers`` and ``scores``.

    Args:
        offsets: Start of each term's postings list: int64, (terms + 1,).
        documents: Document numbers of the postings: int32, (postings,).
        values: Weights of the terms in the documents: float32, (postings,).
        starts: Start of each query in ``terms``, ``weights`` and ``bounds``: int64, (queries + 1,).
        terms: Terms of all queries: int64.
        weights: Weights of these terms: float32.
        bounds: The most that these terms can add to a score, highest first in each query: float64.
        rounding: Upper bound of the relative error of sums.
        sums: Zeros, also after the call: float32, (documents,).
        found: Any numbers: int32, (documents + 1,).
        allowed: Which documents may be returned: bool, (documents,); empty if all may.
        numbers: Receives document numbers: int64, (queries, depth), filled with -1.
        scores: Receives scores: float32, (queries, depth), filled with 0.
    """
    depth = numbers.shape[1]
    heap_scores, heap = np.empty(depth, np.float32), np.empty(depth, np.int64)
    for query in range(len(starts) - 1):
        begin, end = starts[query], starts[query + 1]
        if begin == end:
            continue
        if np.isinf(bounds[begin]):  # a sum can be 0 after some terms, so documents cannot be collected by their sums
            num_found = _add_all(offsets, documents, values, terms[begin:end], weights[begin:end], sums)
        else:
            part = terms[begin:end], weights[begin:end], bounds[begin:end], rounding
            num_found = _add_most(offsets, documents, values, *part, sums, found, allowed, heap_scores, heap)
        size, lowest = 0, np.float32(0)  # of the scores that are inserted
        if num_found == len(sums):
            for document in range(len(sums)):
                if len(allowed) > 0 and not allowed[document]:
                    continue
                if sums[document] > lowest or (sums[document] > 0 and size < depth):
                    size = _insert(heap_scores, heap, size, sums[document], document)
                    lowest = heap_scores[0] if size == depth else lowest
            sums[:] = 0
        else:
            for document in found[:num_found]:
                score = sums[document]
                sums[document] = 0
                if score > 0 and score >= lowest:
                    size = _insert(heap_scores, heap, size, score, document)
                    lowest = heap_scores[0] if size == depth else lowest
        _write_sorted(heap_scores, heap, size, numbers[query], scores[query])

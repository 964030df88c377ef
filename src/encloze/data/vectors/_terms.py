"""Conversion between matrices of term weights and the terms and weights of each text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from encloze.data.vectors.base import TermNames
from encloze.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def rows_of_terms(matrix: csr_matrix, names: TermNames) -> Iterator[tuple[list[str], list[float]]]:
    """Yield the names and the weights of the terms of each row, as float32 numbers."""
    used = np.unique(matrix.indices)
    name_of = dict(zip(used.tolist(), names(used.tolist()), strict=True))
    for begin, end in pairwise(matrix.indptr.tolist()):
        terms = matrix.indices[begin:end].tolist()
        yield [name_of[term] for term in terms], matrix.data[begin:end].tolist()


def term_matrix(
    location: str,
    rows: Iterable[tuple[Sequence[str], Sequence[float]]],
    numbers: Mapping[str, int],
    num_terms: int,
) -> csr_matrix:
    """Return the matrix of the weights of terms that are given by name.

    Raises:
        DataError: A term is not in the vocabulary of the model, or a weight is no number.
    """
    from scipy.sparse import csr_matrix

    terms, weights, ends = list[int](), list[float](), [0]
    try:
        for names, values in rows:
            terms += [numbers[name] for name in names]
            weights += map(float, values)
            ends.append(len(terms))
    except KeyError as error:
        if not numbers:
            raise DataError(f"{location}: it contains term weights, and the model computes only embeddings") from error
        raise DataError(f"{location}: the vocabulary of the model has no token {error.args[0]!r}") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{location}: the term weights are not numbers: {error}") from error
    if len(weights) != len(terms):
        raise DataError(f"{location}: there are {len(terms):,} terms and {len(weights):,} weights")
    matrix = csr_matrix((np.array(weights, np.float32), terms, ends), (len(ends) - 1, num_terms))
    matrix.sort_indices()
    return matrix

"""Pairs of texts that belong together: what a corpus has that should lie close."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.formats.titles import untitled
from encloze.data.records import Judgment

_LEAST_WORDS = 2  # of a title


class Positives(NamedTuple):
    """Pairs of one kind."""

    kind: str
    firsts: list[str]
    seconds: list[str]
    asks: bool = True
    """Whether the first of a pair is read as a query; the second is always read as a document."""


def positives(
    corpus: Corpus, queries: Mapping[str, str], judgments: Sequence[Judgment], most: int, seed: int
) -> Positives | None:
    """Up to ``most`` pairs, drawn by ``seed``: queries with what is relevant to them; titles with their texts where
    nothing is judged; neighbours where there are no titles either; None where there is nothing of the kind.
    """
    draw, number_of = np.random.default_rng(seed), corpus.number_of
    judged = sorted({(j.query, j.document) for j in judgments if j.grade > 0 and j.query in queries})
    known = [(queries[query], number_of[document]) for query, document in judged if document in number_of]
    if known:
        some = [known[at] for at in draw.permutation(len(known))[:most]]
        texts = list(corpus.texts([number for _, number in some]))
        return Positives("queries and relevant documents", [query for query, _ in some], texts)
    if some := list(islice(_titled(corpus, draw.permutation(len(corpus))), most)):
        return Positives("titles and their texts", [title for title, _ in some], [text for _, text in some])
    if neighbours := _neighbours(corpus):
        pairs = [neighbours[at] for at in draw.permutation(len(neighbours))[:most]]
        sides = [list(corpus.texts(numbers)) for numbers in zip(*pairs, strict=True)]
        return Positives("neighbouring documents", sides[0], sides[1], asks=False)
    return None


def _titled(corpus: Corpus, order: np.ndarray) -> Iterator[tuple[str, str]]:
    titles = corpus.column("title")
    for number in order.tolist():
        if len((titles[number].as_py() or "").split()) >= _LEAST_WORDS:
            document = corpus[number]
            if text := untitled(document.title, document.text):
                yield document.title, text


def _neighbours(corpus: Corpus) -> list[tuple[int, int]]:
    """The numbers of documents that follow one another in their source."""
    columns = zip(corpus.column("source").to_pylist(), corpus.column("position").to_pylist(), strict=True)
    placed = [(source, at or 0, number) for number, (source, at) in enumerate(columns) if source is not None]
    placed.sort()
    return [(one[2], other[2]) for one, other in pairwise(placed) if one[0] == other[0]]

"""Sampling of positive pairs of related texts, to measure whether their embeddings are close to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.formats.titles import strip_title
from encloze.data.records import Judgment

_MIN_TITLE_WORDS = 2


class PositivePairs(NamedTuple):
    """Pairs of related texts, all of the same kind (such as queries with relevant documents)."""

    kind: str
    """Description of all pairs for reports, such as ``queries and relevant documents``."""
    first_texts: list[str]
    """First text of each pair, such as the query."""
    second_texts: list[str]
    """Second text of each pair, such as the relevant document. It is always encoded as a document."""
    first_is_query: bool = True
    """Whether the first texts are encoded as queries; otherwise they are encoded as documents."""


def sample_positive_pairs(
    corpus: Corpus, queries: Mapping[str, str], judgments: Sequence[Judgment], max_pairs: int, seed: int
) -> PositivePairs | None:
    """Sample positive pairs, each of two related texts.

    If there are judgments, each pair is a query and one of its relevant documents. Otherwise, each pair is the title
    and the text of a document or, if no document has a title, two passages that follow each other in the same longer
    text.

    Args:
        corpus: Documents.
        queries: Texts of the queries by id.
        judgments: Relevance judgments.
        max_pairs: Maximum number of pairs.
        seed: Seed of the random sample.

    Returns:
        The pairs; None if the corpus and the judgments contain none of these kinds of pairs.
    """
    rng, number_of = np.random.default_rng(seed), corpus.number_of
    relevant = sorted({(j.query, j.document) for j in judgments if j.grade > 0 and j.query in queries})
    judged = [(queries[query], number_of[document]) for query, document in relevant if document in number_of]
    if judged:
        sample = [judged[index] for index in rng.permutation(len(judged))[:max_pairs]]
        texts = list(corpus.texts([number for _, number in sample]))
        return PositivePairs("queries and relevant documents", [query for query, _ in sample], texts)
    if titled := list(islice(_titled_texts(corpus, rng.permutation(len(corpus))), max_pairs)):
        return PositivePairs("titles and their texts", [title for title, _ in titled], [text for _, text in titled])
    if neighbors := _neighbors(corpus):
        pairs = [neighbors[index] for index in rng.permutation(len(neighbors))[:max_pairs]]
        first, second = (list(corpus.texts(numbers)) for numbers in zip(*pairs, strict=True))
        return PositivePairs("neighboring documents", first, second, first_is_query=False)
    return None


def _titled_texts(corpus: Corpus, order: np.ndarray) -> Iterator[tuple[str, str]]:
    """Yield title and text of each document whose title has two or more words.

    ``order``: row numbers of the documents, in the order in which they are read.
    """
    titles = corpus.column("title")
    for number in order.tolist():
        if len((titles[number].as_py() or "").split()) >= _MIN_TITLE_WORDS:
            document = corpus[number]
            if text := strip_title(document.title, document.text):
                yield document.title, text


def _neighbors(corpus: Corpus) -> list[tuple[int, int]]:
    """Return the row numbers of every two passages that follow each other in the longer text they were cut from."""
    columns = zip(corpus.column("source").to_pylist(), corpus.column("position").to_pylist(), strict=True)
    passages = [
        (source, position or 0, number) for number, (source, position) in enumerate(columns) if source is not None
    ]
    passages.sort()
    return [(first[2], second[2]) for first, second in pairwise(passages) if first[0] == second[0]]

"""A query that the text answers (query-as-context, EMNLP 2023)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query
from encloze.errors import DataError
from encloze.text.contexts.base import Context, Material, Pairs, with_context
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import Tokens


@dataclass(frozen=True)
class Queries(Context, name="queries"):
    """A query judged relevant to the text, drawn evenly from those of a split.

    The paper generates its queries with a model; wherever they come from, they stand in a data set here. Each part of
    a text that was cut has the queries of the whole.
    """

    mutual: ClassVar[bool] = False

    split: str = "train"
    """The split whose judgments tell which queries belong to a text."""
    path: Path | None = None
    """A data set that holds the queries and judgments, where the corpus is not it; its judgments are about the
    documents of the corpus, by their ids."""

    def pairs(self, material: Material) -> Pairs:
        return _Asked(DatasetSplit(self._format(material), self.split), material)

    def _format(self, material: Material) -> Format:
        values: dict[str, Any] = {"path": self.path}
        return material.format if self.path is None else Format.recognised(self.path)(**values)


class _Asked(Pairs):
    """Spans of texts that some query asks for."""

    def __init__(self, dataset: DatasetSplit, material: Material) -> None:
        queries, judgments = _queries(dataset), dataset.judgments
        _check_documents(dataset, material)
        self._spans, self._most = material.spans, material.max_tokens - 2
        words = [query.text for query in queries]
        key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
        self._queries = Tokens.of(words, len(words), material.tokenizer, key)
        lengths = np.minimum(self._queries.lengths, self._most)
        found = [
            (material.corpus.number_of[document], at)
            for at, query in enumerate(queries)
            for document, grade in judgments[query.id].items()
            if grade > 0 and lengths[at]
        ]
        texts, asked = np.array(found, np.int64).reshape(-1, 2).T
        order = np.argsort(texts, kind="stable")
        self._asked = asked[order]  # queries, text after text
        self.fingerprint = hashlib.sha256(key.encode() + texts.tobytes() + asked.tobytes()).hexdigest()[:32]
        self._borders = np.searchsorted(texts[order], np.arange(len(material.corpus) + 1))
        self.usable = with_context(
            np.diff(self._borders)[self._spans.texts] > 0,
            material,
            f"a query of the split {dataset.split!r}",
            "Set the split of the context 'queries' to another one, or its path to a data set with queries for these",
        )
        progress.note(f"{len(np.unique(asked))} queries ask for {len(np.unique(self._spans.texts[self.usable]))} texts")
        longest = np.zeros(len(material.corpus), np.int64)
        np.maximum.at(longest, texts, lengths[asked])
        self.lengths = np.maximum(longest[self._spans.texts], self._spans.lengths)[self.usable]

    def __call__(self, number: int, draw: np.random.Generator) -> tuple[Encoded, Encoded]:
        text = int(self._spans.texts[number])
        query = self._queries[int(self._asked[draw.integers(self._borders[text], self._borders[text + 1])])]
        return self._spans[number], Encoded(query.ids[: self._most], query.starts[: self._most])


def _queries(dataset: DatasetSplit) -> list[Query]:
    """The queries that have judgments. Raises DataError where there are none of either."""
    try:
        return dataset.queries
    except DataError as error:
        splits = ", ".join(dataset.format.splits()) or "none"
        raise DataError(
            f"{error}. The context 'queries' needs queries, and judgments of the corpus's documents: set its path to a "
            f"data set that has both, or its split to another one (here: {splits}), or take a context that needs none "
            "(near, crops)"
        ) from error


def _check_documents(dataset: DatasetSplit, material: Material) -> None:
    """Raise DataError where documents judged relevant are not in the corpus."""
    judged = {document for grades in dataset.judgments.values() for document, grade in grades.items() if grade > 0}
    if unknown := sorted(judged - material.corpus.number_of.keys()):
        raise DataError(
            f"{dataset.format.place()}: {len(unknown)} of {len(judged)} documents judged relevant in the split "
            f"{dataset.split!r} are not in the corpus {material.format.place()}, among them {', '.join(unknown[:3])} "
            f"(in the corpus: {material.corpus.ids[0]}). Give the corpus that the judgments are about, or take these "
            "lines out of the judgments"
        )

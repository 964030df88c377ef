"""A query to which the text is relevant (query-as-context pre-training, Wu et al., EMNLP 2023)."""

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
from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, select_spans
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import TokenizedTexts


@dataclass(frozen=True)
class Queries(Context, name="queries"):
    """A query to which the text is judged relevant. It is sampled uniformly from all such queries of one split.

    Wu et al. generate the queries with a model. Here the queries are read from a data set, which may contain generated
    queries. For each span of a text, the queries of the whole text are used.
    """

    is_symmetric: ClassVar[bool] = False

    split: str = "train"
    """Name of the split whose queries and judgments are used."""
    path: Path | None = None
    """Data set with the queries and judgments; by default the data set of the corpus. Its judgments must refer to
    documents by the ids of the corpus."""

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return _QueryPairs(DatasetSplit(self._format(inputs), self.split), inputs)

    def _format(self, inputs: ContextInputs) -> Format:
        if self.path is None:
            return inputs.format
        settings: dict[str, Any] = {"path": self.path}
        return Format.recognize(self.path)(**settings)


class _QueryPairs(ContextPairs):
    """Pairs of a span and a query to which the text of the span is relevant."""

    def __init__(self, dataset: DatasetSplit, inputs: ContextInputs) -> None:
        queries, judgments = _judged_queries(dataset), dataset.judgments
        _check_documents(dataset, inputs)
        self._spans, self._max_length = inputs.spans, inputs.max_tokens - 2
        query_texts = [query.text for query in queries]
        key = hashlib.sha256("\0".join(query_texts).encode()).hexdigest()[:32]
        self._queries = TokenizedTexts.from_texts(query_texts, len(query_texts), inputs.tokenizer, key)
        query_lengths = np.minimum(self._queries.lengths, self._max_length)
        relevant = [
            (inputs.corpus.number_of[document], query_number)
            for query_number, query in enumerate(queries)
            for document, grade in judgments[query.id].items()
            if grade > 0 and query_lengths[query_number]
        ]
        text_numbers, query_numbers = np.array(relevant, np.int64).reshape(-1, 2).T
        order = np.argsort(text_numbers, kind="stable")
        self._query_numbers = query_numbers[order]  # grouped by text
        content = key.encode() + text_numbers.tobytes() + query_numbers.tobytes()
        self.fingerprint = hashlib.sha256(content).hexdigest()[:32]
        self._offsets = np.searchsorted(text_numbers[order], np.arange(len(inputs.corpus) + 1))
        self.span_numbers = select_spans(
            np.diff(self._offsets)[self._spans.text_numbers] > 0,
            inputs,
            f"have no query in the split {dataset.split!r}",
            "Set the split of the context 'queries' to another one, or its path to a data set with queries for these "
            "texts",
        )
        text_count = len(np.unique(self._spans.text_numbers[self.span_numbers]))
        progress.note(f"{len(np.unique(query_numbers))} distinct queries are used as contexts for {text_count} texts")
        longest = np.zeros(len(inputs.corpus), np.int64)
        np.maximum.at(longest, text_numbers, query_lengths[query_numbers])
        self.lengths = np.maximum(longest[self._spans.text_numbers], self._spans.lengths)[self.span_numbers]

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[Encoded, Encoded]:
        text = int(self._spans.text_numbers[number])
        position = rng.integers(self._offsets[text], self._offsets[text + 1])
        query = self._queries[int(self._query_numbers[position])]
        return self._spans[number], Encoded(query.ids[: self._max_length], query.word_starts[: self._max_length])


def _judged_queries(dataset: DatasetSplit) -> list[Query]:
    """Return the queries of a data set that have judgments. Raises DataError if it has no queries or no judgments."""
    try:
        return dataset.queries
    except DataError as error:
        splits = ", ".join(dataset.format.splits()) or "none"
        raise DataError(
            f"{error}. The context 'queries' needs queries with judgments of the documents of the corpus. Set its path "
            f"to a data set with queries and judgments, set its split to another split of this data set ({splits}), or "
            "use a context without queries (near, crops)"
        ) from error


def _check_documents(dataset: DatasetSplit, inputs: ContextInputs) -> None:
    """Raise DataError if the judgments contain a relevant document that is not in the corpus."""
    relevant = {document for grades in dataset.judgments.values() for document, grade in grades.items() if grade > 0}
    if missing := sorted(relevant - inputs.corpus.number_of.keys()):
        raise DataError(
            f"{dataset.format.location()}: {len(missing)} of {len(relevant)} documents judged relevant in the split "
            f"{dataset.split!r} are not in the corpus {inputs.format.location()}, for example {', '.join(missing[:3])} "
            f"(an id in the corpus: {inputs.corpus.ids[0]}). Use the corpus that the judgments refer to, or remove the "
            "judgments of the missing documents"
        )

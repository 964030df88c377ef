"""Overlap between the splits of a data set: queries and relevant documents that two splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Judgment

_TRAINING_SPLITS = ("train", "dev", "validation")  # each is compared with the splits before it; test splits come last


class Contamination(NamedTuple):
    """Queries and documents that a split shares with another split used before it, such as ``test`` with ``train``."""

    earlier: str
    """Name of the earlier split."""
    split: str
    """Name of the split that is compared with the earlier split."""
    queries: int
    """Number of judged queries with a text in the split."""
    similar_queries: list[tuple[str, str]]
    """Pairs of ids: a query of the split, and an identical or nearly identical query of the earlier split."""
    documents: int
    """Number of relevant documents in the split."""
    shared_documents: list[str]
    """Ids of documents that are relevant in both splits."""
    similar_documents: list[tuple[str, str]]
    """Pairs of ids of identical or nearly identical documents: one that is relevant in the checked split (such as
    test), and one that is relevant in the earlier split (such as train). A document that is relevant in both splits is
    not listed here."""

    def summary(self) -> str:
        """Describe the overlap in one sentence, with up to three pairs of similar queries and of similar documents."""
        queries, documents = (
            ", ".join(f"{id_} ~ {other}" for id_, other in pairs[:3])
            for pairs in (self.similar_queries, self.similar_documents)
        )
        return (
            f"{self.split} compared with {self.earlier}: {len(self.similar_queries):,} of {self.queries:,} queries are "
            f"identical or nearly identical{f' ({queries})' * bool(queries)}; of {self.documents:,} relevant documents "
            f"{len(self.shared_documents):,} are relevant in both splits and {len(self.similar_documents):,} more are "
            f"nearly identical to one{f' ({documents})' * bool(documents)}"
        )


def find_contamination(format_: Format, split: str, similarity: float) -> list[Contamination]:
    """Find queries and documents of a split that also occur in the splits used before it: train, dev and validation.

    Args:
        format_: Data set to check.
        split: Name of the split, such as ``test``.
        similarity: Minimum Jaccard similarity of 4-word shingles at which texts count as nearly identical, above 0 and
            at most 1.

    Returns:
        One record for each earlier split; an empty list if there is none.

    Raises:
        DataError: Judgments, queries or documents are malformed.
    """
    is_known = split in _TRAINING_SPLITS
    earlier = _TRAINING_SPLITS[: _TRAINING_SPLITS.index(split)] if is_known else _TRAINING_SPLITS
    judgments = {name: read_judgments(format_, name) for name in earlier if name in format_.splits()}
    if not judgments:
        return []
    judgments[split] = read_judgments(format_, split)
    judged = {judgment.query for split_judgments in judgments.values() for judgment in split_judgments}
    queries = {query: text for query, text in read_queries(format_).items() if query in judged}
    corpus = Corpus.from_format(format_)
    relevant = {j.document for split_judgments in judgments.values() for j in split_judgments if j.grade > 0}
    numbers = sorted(corpus.number_of[document] for document in relevant if document in corpus.number_of)
    groups = group_duplicates(list(corpus.texts(numbers)), similarity)
    document_groups = dict(zip((corpus.ids[number] for number in numbers), groups.tolist(), strict=True))
    return [pair for pair in compare_splits(judgments, queries, document_groups, similarity) if pair.split == split]


def read_judgments(format_: Format, split: str) -> list[Judgment]:
    """Return the judgments of a split. Raises a DataError that lists all malformed lines."""
    errors = ErrorCollector()
    judgments = list(format_.judgments(split, errors))
    errors.raise_if_any()
    return judgments


def read_queries(format_: Format) -> dict[str, str]:
    """Return the texts of the queries by query id. Raises a DataError that lists all malformed lines."""
    errors = ErrorCollector()
    queries = {query.id: query.text for query in format_.queries(errors)}
    errors.raise_if_any()
    return queries


def compare_splits(
    judgments: Mapping[str, Sequence[Judgment]],
    queries: Mapping[str, str],
    document_groups: Mapping[str, int],
    similarity: float,
) -> list[Contamination]:
    """Find the queries and relevant documents that are shared by two splits, for every pair of splits.

    Args:
        judgments: Judgments of each split.
        queries: Texts of the queries by query id.
        document_groups: The group of near-duplicates that each document belongs to, keyed by document id. A group is
            identified by an integer; see ``group_duplicates``.
        similarity: Minimum Jaccard similarity at which queries count as nearly identical.

    Returns:
        One record for each pair of splits. Its ``earlier`` is the split that comes first in the order train, dev,
        validation, all other splits by name.
    """
    groups = group_duplicates(list(queries.values()), similarity) if queries else np.zeros(0, np.int64)
    query_groups = dict(zip(queries, groups.tolist(), strict=True))
    results = []
    for earlier, split in combinations(sorted(judgments, key=_split_order), 2):
        earlier_queries, split_queries = (_query_ids(judgments[name], queries) for name in (earlier, split))
        earlier_documents, split_documents = (_relevant_ids(judgments[name]) for name in (earlier, split))
        shared = set(earlier_documents)
        others = [document for document in split_documents if document not in shared]
        results.append(
            Contamination(
                earlier,
                split,
                len(split_queries),
                _pairs_in_same_group(split_queries, earlier_queries, query_groups),
                len(split_documents),
                [document for document in split_documents if document in shared],
                _pairs_in_same_group(others, earlier_documents, document_groups),
            )
        )
    return results


def _split_order(split: str) -> tuple[int, str]:
    return _TRAINING_SPLITS.index(split) if split in _TRAINING_SPLITS else len(_TRAINING_SPLITS), split


def _query_ids(judgments: Sequence[Judgment], queries: Mapping[str, str]) -> list[str]:
    """Return the ids of the queries that have both a judgment and a text, each id once."""
    return list(dict.fromkeys(judgment.query for judgment in judgments if judgment.query in queries))


def _relevant_ids(judgments: Sequence[Judgment]) -> list[str]:
    """Return the ids of the documents that are relevant to at least one query, each once."""
    return list(dict.fromkeys(judgment.document for judgment in judgments if judgment.grade > 0))


def _pairs_in_same_group(
    ids: Sequence[str], other_ids: Sequence[str], groups: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Pair each of ``ids`` with the first of ``other_ids`` that is in the same group of near-duplicates.

    An id is omitted if its group contains none of ``other_ids``.
    """
    first = dict[int, str]()
    for other in other_ids:
        if other in groups:
            first.setdefault(groups[other], other)
    return [(id_, first[groups[id_]]) for id_ in ids if id_ in groups and groups[id_] in first]

"""What one split of a data set gives away about another: queries and relevant documents that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Judgment

_ORDER = ("train", "dev", "validation")  # what is learnt from comes before what is judged


class Contamination(NamedTuple):
    """What a split has in common with an earlier one."""

    earlier: str
    split: str
    queries: int
    """How many the split has."""
    alike: list[tuple[str, str]]
    """Its queries that one of the earlier split is the same as, or nearly, with that one."""
    documents: int
    """How many documents are relevant in the split."""
    shared: list[str]
    """Those that are relevant in the earlier one, too."""
    near: list[tuple[str, str]]
    """Others with the same text, or nearly, as one that is relevant in the earlier split, with that one."""

    def told(self) -> str:
        """All of it in words, with a few examples."""
        alike, near = (", ".join(f"{one} ~ {other}" for one, other in pairs[:3]) for pairs in (self.alike, self.near))
        return (
            f"{self.split} against {self.earlier}: {len(self.alike):,} of {self.queries:,} queries are the same or "
            f"nearly{f' ({alike})' * bool(alike)}; of {self.documents:,} relevant documents {len(self.shared):,} are "
            f"relevant there, too, and {len(self.near):,} more are nearly the same as one that is"
            f"{f' ({near})' * bool(near)}"
        )


def contamination_of(format_: Format, split: str, similarity: float) -> list[Contamination]:
    """A split held against those of its data set that are learnt from (train, dev, validation) and come before it."""
    before = _ORDER[: _ORDER.index(split)] if split in _ORDER else _ORDER
    judgments = {name: judgments_of(format_, name) for name in before if name in format_.splits()}
    if not judgments:
        return []
    judgments[split] = judgments_of(format_, split)
    asked = {judgment.query for of_split in judgments.values() for judgment in of_split}
    queries = {query: text for query, text in queries_of(format_).items() if query in asked}
    corpus = Corpus.open(format_)
    relevant = {judgment.document for of_split in judgments.values() for judgment in of_split if judgment.grade > 0}
    numbers = sorted(corpus.number_of[document] for document in relevant if document in corpus.number_of)
    groups = group_duplicates(list(corpus.texts(numbers)), similarity)
    by_id = dict(zip((corpus.ids[number] for number in numbers), groups.tolist(), strict=True))
    return [found for found in contamination(judgments, queries, by_id, similarity) if found.split == split]


def judgments_of(format_: Format, split: str) -> list[Judgment]:
    """The judgments of a split, which may have none. Raises DataError with all faulty lines."""
    faults = Faults()
    judgments = list(format_.judgments(split, faults))
    faults.stop()
    return judgments


def queries_of(format_: Format) -> dict[str, str]:
    """The text of each query. Raises DataError with all faulty lines."""
    faults = Faults()
    queries = {query.id: query.text for query in format_.queries(faults)}
    faults.stop()
    return queries


def contamination(
    judgments: Mapping[str, Sequence[Judgment]],
    queries: Mapping[str, str],
    document_groups: Mapping[str, int],
    similarity: float,
) -> list[Contamination]:
    """Every two splits held against one another.

    ``queries`` has the text of each query, ``document_groups`` the group of near-duplicates that each document is in;
    ``similarity`` is that of ``group_duplicates`` for queries.
    """
    groups = group_duplicates(list(queries.values()), similarity) if queries else np.zeros(0, np.int64)
    group_of = dict(zip(queries, groups.tolist(), strict=True))
    found = []
    splits = sorted(judgments, key=lambda split: (_ORDER.index(split) if split in _ORDER else len(_ORDER), split))
    for earlier, split in combinations(splits, 2):
        first, second = (
            list(dict.fromkeys(judgment.query for judgment in judgments[of] if judgment.query in queries))
            for of in (earlier, split)
        )
        there, here = (
            list(dict.fromkeys(judgment.document for judgment in judgments[of] if judgment.grade > 0))
            for of in (earlier, split)
        )
        known = set(there)
        rest = [document for document in here if document not in known]
        found.append(
            Contamination(
                earlier,
                split,
                len(second),
                _paired(second, first, group_of),
                len(here),
                [document for document in here if document in known],
                _paired(rest, there, document_groups),
            )
        )
    return found


def _paired(ids: Sequence[str], others: Sequence[str], group_of: Mapping[str, int]) -> list[tuple[str, str]]:
    """Those of ``ids`` whose group holds one of ``others``, each with the first such."""
    first = dict[int, str]()
    for other in others:
        if other in group_of:
            first.setdefault(group_of[other], other)
    return [(id_, first[group_of[id_]]) for id_ in ids if id_ in group_of and group_of[id_] in first]

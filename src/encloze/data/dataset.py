"""One split of a data set: documents, queries and judgments, for training and evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.counts import DatasetCounts
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Judgments, Query
from encloze.errors import DataError

_IDS_AT_A_TIME = 2**16


@dataclass
class DatasetSplit:
    """Documents, queries and judgments of one split. Their files are read when they are first accessed.

    Queries without judgments in the split are skipped, as in BEIR's loader.

    Args:
        format: Data set.
        split: Name of the split.
        judgments_by_source: Whether judgments contain ids of the longer texts that the documents were cut from, instead
            of document ids.
    """

    format: Format
    split: str
    judgments_by_source: bool = False
    _warned: set[str] = field(default_factory=set, repr=False)

    @cached_property
    def corpus(self) -> Corpus:
        """All documents of the data set. Raises a DataError that lists all malformed lines."""
        return Corpus.from_format(self.format)

    @cached_property
    def judgments(self) -> Judgments:
        """Relevance grades of the split: ``{query id: {document id: grade}}``.

        Raises:
            DataError: Lines are malformed, a document has two grades for a query, or the split has no judgments.
        """
        errors, judgments = ErrorCollector(), dict[str, dict[str, int]]()
        for query, document, grade in self.format.judgments(self.split, errors):
            if judgments.setdefault(query, {}).setdefault(document, grade) != grade:
                errors.add(
                    errors.location or f"split {self.split}",
                    f"document {document!r} has two grades for query {query!r}",
                )
        errors.raise_if_any()
        if not judgments:
            raise DataError(f"{self.format.location()} has no judgments in the split {self.split!r}")
        return judgments

    @cached_property
    def all_queries(self) -> dict[str, Query]:
        """Queries of all splits by id, in the order of their file.

        Raises:
            DataError: Lines are malformed or ids occur twice.
        """
        errors, queries = ErrorCollector(), dict[str, Query]()
        for query in self.format.queries(errors):
            if query.id in queries:
                errors.add(errors.location or "queries", f"duplicate query id {query.id!r}")
            errors.check_id("query", query.id, "queries")
            queries[query.id] = query
        errors.raise_if_any()
        return queries

    @cached_property
    def queries(self) -> list[Query]:
        """Judged queries of the split, in the order of their file. Warns of judged queries that have no text.

        Raises:
            DataError: Queries or judgments are malformed, or no judged query has a text.
        """
        all_queries, judgments = self.all_queries, self.judgments
        self._warn_missing("queries", [query for query in judgments if query not in all_queries])
        queries = [query for query in all_queries.values() if query.id in judgments]
        if not queries:
            raise DataError(
                f"{self.format.location()}: no query that is judged in the split {self.split!r} is among the queries "
                "of the data set. Give the queries that the judgments refer to"
            )
        return queries

    def evaluated_judgments(self, *, texts: bool) -> Judgments:
        """Return the judgments that an evaluation uses.

        Args:
            texts: Whether a system reads the texts of the queries. If so, judged queries without a text are excluded.
        """
        if not texts:
            return self.judgments
        ids = {query.id for query in self.queries}
        return {query: grades for query, grades in self.judgments.items() if query in ids}

    def counts(self, *, queries: bool, documents: bool) -> DatasetCounts:
        """Return the numbers of queries and documents, and of incomplete ones, such as queries without a text.

        Args:
            queries: Whether to read and count the queries.
            documents: Whether to read and count the documents.
        """
        counts = DatasetCounts.from_judgments(self.judgments)
        if queries:
            counts = counts.with_queries(self.judgments, len(self.all_queries), {query.id for query in self.queries})
        if documents:
            counts = counts.with_documents(self.judgments, len(self.corpus), self.judgment_targets(self.corpus))
        return counts

    def with_split(self, split: str) -> DatasetSplit:
        """Return another split of the same data set."""
        other = DatasetSplit(self.format, split, self.judgments_by_source)
        other.corpus = self.corpus
        return other

    def with_corpus(self, corpus: Corpus) -> DatasetSplit:
        """Return a copy of this split with the documents of ``corpus`` in place of its own."""
        other = DatasetSplit(self.format, self.split, self.judgments_by_source, self._warned)
        other.corpus, other.judgments = corpus, self.judgments
        other.all_queries, other.queries = self.all_queries, self.queries
        return other

    def judgment_targets(self, corpus: Corpus) -> Set[str]:
        """Return the ids that judgments can refer to: ids of documents, or of the longer texts they were cut from."""
        return corpus.sources if self.judgments_by_source else corpus.number_of.keys()

    def check_judged_documents(self) -> None:
        """Warn of judged documents that are not in the corpus.

        Raises:
            DataError: None of the judged documents is in the corpus.
        """
        judged = {document for grades in self.judgments.values() for document in grades}
        known = self.judgment_targets(self.corpus)
        missing = sorted(judged - known)
        if missing and len(missing) == len(judged):
            example = next(iter(known), None) if self.judgments_by_source else self.corpus.ids[0]
            raise DataError(
                f"{self.format.location()}: none of the {len(judged)} documents judged in the split {self.split!r} is "
                f"in the corpus (judged: {missing[0]!r}, in the corpus: {example!r}). Give the corpus that the "
                "judgments refer to"
            )
        self._warn_missing("documents", missing)

    def check_candidates(self, ranked: Iterable[str], name: str) -> bool:
        """Warn of ranked documents that are not in the corpus.

        Args:
            ranked: Ids of the documents that a system or TREC run ranks.
            name: Name of the system or TREC run, for messages.

        Returns:
            Whether at least one ranked document is in the corpus.

        Raises:
            DataError: Documents are ranked and none of them is in the corpus.
        """
        ranked, missing, has_candidate = iter(ranked), dict[str, None](), False
        while batch := list(itertools.islice(ranked, _IDS_AT_A_TIME)):
            unknown = np.flatnonzero(self.corpus.number_of.find(batch) < 0).tolist()
            has_candidate |= len(unknown) < len(batch)
            missing.update((batch[position], None) for position in unknown)
        ids = list(missing)
        if ids and not has_candidate:
            raise DataError(
                f"{name}: none of the {len(ids)} documents that it ranks for the queries of the split {self.split!r} "
                f"is in {self.format.location()} (in the run: {ids[0]!r}, in the corpus: {self.corpus.ids[0]!r}). "
                "Give a run over this corpus that ranks documents, not passages"
            )
        if ids:
            progress.warn(
                f"{len(ids)} documents of {name} are not in {self.format.location()} and are skipped, for example "
                f"{', '.join(ids[:3])}"
            )
        return has_candidate

    def _warn_missing(self, kind: str, missing: list[str]) -> None:
        """Warn of judged ``kind`` (queries or documents) that the data set lacks, unless this was reported before."""
        if missing and kind not in self._warned:
            self._warned.add(kind)
            progress.warn(
                f"{len(missing)} judged {kind} of the split {self.split!r} are not in {self.format.location()}, "
                f"for example {', '.join(missing[:3])}"
            )

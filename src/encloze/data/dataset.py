"""Documents, queries and the judgments of one split: what training and evaluation start from."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.counts import Counts
from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Example, Judgments, Query, Run
from encloze.data.runs import best
from encloze.data.words import normalized
from encloze.errors import DataError


@dataclass
class DatasetSplit:
    """One split of a data set. Queries without judgments in the split are left out, as BEIR's loader does."""

    format: Format
    split: str
    by_source: bool = False
    """Whether judgments name the longer texts that documents were cut from."""
    _warned: set[str] = field(default_factory=set, repr=False)
    _asked: int = field(default=0, repr=False)

    @cached_property
    def corpus(self) -> Corpus:
        return Corpus.open(self.format)

    @cached_property
    def judgments(self) -> Judgments:
        """Grades by query and document. Raises DataError for malformed lines or a document judged in two ways."""
        faults, grades = Faults(), dict[str, dict[str, int]]()
        for query, document, grade in self.format.judgments(self.split, faults):
            if grades.setdefault(query, {}).setdefault(document, grade) != grade:
                faults.add(
                    faults.here or f"split {self.split}", f"document {document!r} has two grades for query {query!r}"
                )
        faults.stop()
        if not grades:
            raise DataError(f"{self.format.place()} has no judgments in the split {self.split!r}")
        return grades

    @cached_property
    def queries(self) -> list[Query]:
        """The queries of the split, in the order of their file."""
        faults, found = Faults(), dict[str, Query]()
        for query in self.format.queries(faults):
            if query.id in found:
                faults.add(faults.here or "queries", f"the id {query.id!r} stands for an earlier query already")
            faults.check_id("query", query.id, "queries")
            found[query.id] = query
        faults.stop()
        self._asked = len(found)
        self._warn("queries", [query for query in self.judgments if query not in found])
        chosen = [query for query in found.values() if query.id in self.judgments]
        if not chosen:
            raise DataError(
                f"{self.format.place()}: no judgment of the split {self.split!r} is of a query that is there"
            )
        return chosen

    def judged(self, *, texts: bool) -> Judgments:
        """The judgments that count: those of queries with a text where systems read ``texts``, else all."""
        if not texts:
            return self.judgments
        known = {query.id for query in self.queries}
        return {query: grades for query, grades in self.judgments.items() if query in known}

    def counts(self) -> Counts:
        """What there is and what does not fit together, of what was read so far."""
        found, read = Counts.of(self.judgments), vars(self)
        if "queries" in read:
            found = found.with_queries(self.judgments, self._asked, {query.id for query in self.queries})
        if "corpus" in read:
            found = found.with_documents(self.judgments, len(self.corpus), self.known(self.corpus))
        return found

    def part(self, split: str) -> DatasetSplit:
        """Another split over the same documents."""
        other = DatasetSplit(self.format, split, self.by_source)
        other.corpus = self.corpus
        return other

    def over(self, corpus: Corpus) -> DatasetSplit:
        """The same queries and judgments over other documents."""
        other = DatasetSplit(self.format, self.split, self.by_source, self._warned)
        other.corpus, other.judgments, other.queries = corpus, self.judgments, self.queries
        return other

    def check_documents(self) -> None:
        """Warn of judged documents that the corpus lacks; raise DataError where it lacks all of them."""
        judged = {document for grades in self.judgments.values() for document in grades}
        missing = sorted(judged - self.known(self.corpus))
        if missing and len(missing) == len(judged):
            known = next(iter(self.known(self.corpus)), None) if self.by_source else self.corpus.ids[0]
            raise DataError(
                f"{self.format.place()}: none of the {len(judged)} documents judged in the split {self.split!r} is in "
                f"the corpus (judged: {missing[0]!r}, in the corpus: {known!r})"
            )
        self._warn("documents", missing)

    def check_candidates(self, ranked: Iterable[str], name: str) -> bool:
        """Warn of documents of a run that the corpus lacks, and raise DataError where it lacks all; whether it has any.

        ``name`` is what the run is called in messages.
        """
        known, missing, has_some = self.corpus.number_of, dict[str, None](), False
        for document in ranked:
            if document in known:
                has_some = True
            else:
                missing[document] = None
        unknown = list(missing)
        if unknown and not has_some:
            raise DataError(
                f"{name}: none of the {len(unknown)} documents that it ranks for the queries of the split "
                f"{self.split!r} is in {self.format.place()} (in the run: {unknown[0]!r}, in the corpus: "
                f"{self.corpus.ids[0]!r}). Is it a run over another corpus, or over passages?"
            )
        if unknown:
            progress.warn(
                f"{len(unknown)} documents of {name} are not in {self.format.place()} and are left out, among them "
                f"{', '.join(unknown[:3])}"
            )
        return has_some

    def known(self, corpus: Corpus) -> Set[str]:
        """What judgments can name of a corpus."""
        return corpus.number_of.keys() if not self.by_source else corpus.sources

    def examples(
        self, negatives: Run | None = None, depth: int = 200, teacher: Run | None = None
    ) -> list[tuple[Query, Example]]:
        """Training examples: queries with a known positive, and hard negatives from a run without any positives.

        ``depth`` is how far down a ranking negatives are taken. Unjudged documents of the run count as negatives.
        Raises DataError where no query has one, and says how many have none and what of the run is not in the corpus.
        Where there is a ``teacher``, its scores come with them, and examples for which it has fewer than two are left
        out, which is said.
        """
        self.check_documents()
        number_of, examples = self.corpus.number_of, []
        unknown, known = dict[str, None](), self._known_by_words()
        for query in self.queries:
            grades = self.judgments[query.id]
            positives = tuple(number_of[d] for d, grade in grades.items() if grade > 0 and d in number_of)
            ranking = (negatives or {}).get(query.id, {})
            ranked = best(ranking, depth)
            unknown |= dict.fromkeys(d for d in ranked if d not in number_of)
            relevant = known[normalized(query.text)]
            against = tuple(n for d in ranked if (n := number_of.get(d)) is not None and n not in relevant)
            if positives:
                examples.append((query, Example(query.text, positives, against, known=tuple(sorted(relevant)))))
        if not examples:
            raise DataError(f"{self.format.place()}: no query of the split {self.split!r} has a relevant document")
        if dropped := len(self.queries) - len(examples):
            progress.warn(f"{dropped} queries of the split {self.split!r} have no relevant document and are left out")
        if negatives is not None:
            self._check_negatives([example for _, example in examples], list(unknown))
        return examples if teacher is None else self._taught(examples, teacher)

    def _known_by_words(self) -> dict[str, set[int]]:
        """The numbers of the documents that are relevant to each question: queries of the same words ask the same."""
        found: dict[str, set[int]] = {}
        for query in self.queries:
            relevant = (document for document, grade in self.judgments[query.id].items() if grade > 0)
            numbers = (self.corpus.number_of.get(document) for document in relevant)
            found.setdefault(normalized(query.text), set()).update(n for n in numbers if n is not None)
        return found

    def _check_negatives(self, examples: list[Example], unknown: list[str]) -> None:
        """Say what is amiss with a run that negatives are taken from; raise DataError where it gives none."""
        names = f", among them {', '.join(unknown[:3])}" if unknown else ""
        lacking = sum(not example.negatives for example in examples)
        if lacking == len(examples):
            raise DataError(
                f"the run of negatives ranks no document for the queries of the split {self.split!r} that is not "
                f"relevant and in {self.format.place()} ({len(unknown)} are not in it{names}). Is it a run over this "
                "split and this corpus?"
            )
        if unknown:
            progress.warn(f"{len(unknown)} documents of the run of negatives are not in {self.format.place()}{names}")
        if lacking:
            progress.warn(f"{lacking} of {len(examples)} queries have no negatives in the run")

    def _taught(self, examples: list[tuple[Query, Example]], teacher: Run) -> list[tuple[Query, Example]]:
        """Examples with a teacher's scores, of the documents that it scored alone."""
        ids, taught, missing = self.corpus.ids, list[tuple[Query, Example]](), 0
        for query, example in examples:
            scores = teacher.get(query.id, {})
            against = tuple(n for n in example.negatives if ids[n] in scores)
            of_positives = tuple(scores.get(ids[n], float("nan")) for n in example.positives)
            scored = sum(ids[n] in scores for n in example.positives)
            missing += len(example.positives) - scored + len(example.negatives) - len(against)
            if scored and against:
                of_negatives = tuple(scores[ids[n]] for n in against)
                found = replace(example, negatives=against, positive_scores=of_positives)
                taught.append((query, replace(found, negative_scores=of_negatives)))
        if not taught:
            raise DataError(
                f"the teacher scored for none of the {len(examples)} queries a relevant document and a negative. "
                "Are its scores of this split, and of the candidates that negatives names?"
            )
        if missing:
            progress.warn(
                f"the teacher scored {missing} of the candidates not at all: they are left out, and with them "
                f"{len(examples) - len(taught)} of {len(examples)} queries, which have no two candidates any more"
            )
        return taught

    def _warn(self, kind: str, missing: list[str]) -> None:
        if missing and kind not in self._warned:
            self._warned.add(kind)
            progress.warn(
                f"{len(missing)} judged {kind} of the split {self.split!r} are not in {self.format.place()}, "
                f"among them {', '.join(missing[:3])}"
            )

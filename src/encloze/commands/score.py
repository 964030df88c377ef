"""Score candidates with a model: what distillation learns from, and what mining filters by."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from encloze import progress, recipe
from encloze.commands._sifting import draw
from encloze.commands.base import Command, Scored
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query, Run
from encloze.data.runs import RUN, append_run, best, query_of, read_run
from encloze.encoders.base import Scorer, load_scorer
from encloze.errors import DataError
from encloze.storage.atomic import atomic_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.hashes import hash_of
from encloze.storage.provenance import describe_input, write_provenance
from encloze.training.outcome import begin

_QUERIES = 16  # scored at a time: what a kill may cost


@dataclass(frozen=True)
class Score(Command, name="score"):
    """Write a re-ranker's (or bi-encoder's) score of every candidate and every relevant document, as a run.trec."""

    dataset: Format
    """Documents, queries and judgments."""
    model: str
    """A re-ranker, or a bi-encoder: a model folder or a hub's id."""
    candidates: Path
    """A TREC run, or a folder with one: what it ranks for each query of the split is scored."""
    output: Path
    """The folder to write; finetune takes it as teacher."""
    split: str = "train"
    """The part of the queries to score for."""
    depth: int = 100
    """How far down a ranking candidates are taken."""
    most_queries: int | None = None
    """So many queries are drawn, by a hash of seed and id; by default all are scored for. Each costs a pass of the
    model over all its candidates, and learning from scores leaves out queries that have none."""
    relevant: bool = True
    """Whether documents judged relevant are scored, too, wherever they are ranked."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the model's products."""
    seed: int = 0
    """What the draw depends on."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings, after the queries that it has."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")
        if self.most_queries is not None and self.most_queries < 1:
            raise ValueError(f"most_queries must be 1 or more, or null for all, not {self.most_queries}")

    def run(self) -> Scored:
        state = begin(self)
        dataset = DatasetSplit(self.dataset, self.split)
        wanted = self._drawn(dict(self._wanted(dataset)))
        model = load_scorer(self.model, self.precision)
        words = hash_of({query.id: query.text for query in dataset.queries})
        asked = {"candidates": hash_of(wanted), "queries": words, "model": describe_input(self.model)}
        state.open({"corpus": dataset.corpus.fingerprint, **asked})
        partial = state.folder / RUN
        done = _whole_queries(partial, wanted) if partial.exists() else 0
        queries = [query for query in dataset.queries if query.id in wanted]
        with (
            explain_write_errors(partial),
            partial.open("a", encoding="utf-8") as stream,
            progress.task("Scoring for", len(queries), "queries", done=done) as bar,
        ):
            for start in range(done, len(queries), _QUERIES):
                part = queries[start : start + _QUERIES]
                append_run(stream, self._scored(part, wanted, dataset, model), tag=Path(model.name).name)
                stream.flush()
                bar.advance(len(part))
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            shutil.copyfile(partial, folder / RUN)
            inputs = {**self.dataset.inputs("dataset"), "candidates": self.candidates, "model": self.model}
            write_provenance(folder, recipe.dump(replace(self, resume=False), {"verb": self.name}), inputs)
        state.discard()
        return Scored(self.output, len(queries), sum(map(len, wanted.values())))

    def _scored(self, queries: list[Query], wanted: dict[str, list[str]], dataset: DatasetSplit, model: Scorer) -> Run:
        asked = [(query, document) for query in queries for document in wanted[query.id]]
        texts = dataset.corpus.texts([dataset.corpus.number_of[document] for _, document in asked])
        scores = model.score([(query.text, text) for (query, _), text in zip(asked, texts, strict=True)])
        run: Run = {query.id: {} for query in queries}
        for (query, document), score in zip(asked, scores.tolist(), strict=True):
            run[query.id][document] = score
        return run

    def _drawn(self, wanted: dict[str, list[str]]) -> dict[str, list[str]]:
        """So many of the queries as are asked for, in their order."""
        kept = set(sorted(wanted, key=lambda query: draw(f"{self.seed} {query}"))[: self.most_queries])
        return {query: documents for query, documents in wanted.items() if query in kept}

    def _wanted(self, dataset: DatasetSplit) -> Iterator[tuple[str, list[str]]]:
        """The documents to score for each query that has candidates, these first."""
        run, known = read_run(self.candidates), dataset.corpus.number_of
        ranked = (document for query in dataset.judgments for document in run.get(query, {}))
        dataset.check_candidates(ranked, str(self.candidates))
        lacking = 0
        for query in dataset.queries:
            found = [document for document in best(run.get(query.id, {}), self.depth) if document in known]
            lacking += not found
            if found and self.relevant:
                grades = dataset.judgments[query.id]
                found += [d for d, grade in grades.items() if grade > 0 and d in known and d not in set(found)]
            if found:
                yield query.id, found
        if lacking == len(dataset.queries):
            raise DataError(
                f"{self.candidates} ranks nothing for the queries of the split {self.split!r} that have a text. Is it "
                "a run over another split?"
            )
        if lacking:
            progress.warn(f"{lacking} of {len(dataset.queries)} queries have no candidates and are not scored for")


def _whole_queries(partial: Path, wanted: dict[str, list[str]]) -> int:
    """How many queries an unfinished run has whole, in the order of ``wanted``; what is after them is cut off."""
    kept, size, done = dict[str, int](), 0, 0
    counts = iter(wanted.items())
    current = next(counts, None)
    with partial.open("rb+") as stream:
        end = 0
        for line in stream:
            size += len(line)
            if current is None or not line.endswith(b"\n") or query_of(line.decode()) != current[0]:
                break
            kept[current[0]] = kept.get(current[0], 0) + 1
            if kept[current[0]] == len(current[1]):
                done, end, current = done + 1, size, next(counts, None)
        stream.truncate(end)
    return done

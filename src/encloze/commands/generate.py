"""Write queries for documents, so that a retriever can learn where nobody has asked yet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from encloze import progress, recipe
from encloze.commands._sifting import NOT_FOUND, draw, id_of, sifted, split_of, split_up, write
from encloze.commands.base import Command, Generated
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.formats.generated_queries import Asked
from encloze.data.records import Question, full_text
from encloze.data.runs import best, read_run, write_run
from encloze.data.words import words_of
from encloze.errors import DataError
from encloze.generators.base import Generator, Source
from encloze.storage.atomic import atomic_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import write_json
from encloze.storage.provenance import describe_input, write_provenance
from encloze.systems.base import System
from encloze.training.outcome import begin
from encloze.training.state import Unfinished

_SHOWN, _LETTERS = 5, 80  # examples in the report, and how much of their documents
_ENOUGH = 200  # texts after which a generator that has written nothing will not


@dataclass(frozen=True)
class Generate(Command, name="generate"):
    """Write queries and judgments in BEIR's layout: each query is relevant to the document that it was made from.

    The documents stay where they are: {type: asked, corpus: CORPUS, questions: OUTPUT} joins both to a data set.
    """

    corpus: Format
    """The documents: a folder or file in any known format; queries in it are not read."""
    generator: Generator
    """What writes: a model folder or a hub's id, or an endpoint."""
    output: Path
    """The folder to write."""
    per_document: int = 3
    """Queries to write for a document (GPL: 3 and more, Promptagator: 8)."""
    most_documents: int | None = None
    """So many documents are drawn, by a hash of seed and id; by default all are taken."""
    least_words: int = 10
    """Documents of fewer words, title included, are not asked about."""
    dev_share: float = 0.1
    """The share of documents whose queries make the split dev; the others' are train."""
    round_trip: System | None = None
    """A system that must find a query's document, or the query is dropped (Promptagator): bm25, a model."""
    round_trip_depth: int = 1
    """Among so many of its first documents."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings, after the documents that it has."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        for name in ("per_document", "round_trip_depth", "most_documents"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not 0 <= self.dev_share < 1:
            raise ValueError(f"dev_share must be 0 or more and below 1, not {self.dev_share}")

    def run(self) -> Generated:
        state = begin(self)
        corpus = Corpus.open(self.corpus)
        numbers = self._chosen(corpus)
        writer = self.generator.ready(self.per_document, self.seed)
        made_from = {
            name: describe_input(place) for name, place in self._inputs().items() if not name.startswith("corpus")
        }
        state.open({"corpus": corpus.fingerprint, **made_from})
        file = state.folder / "written.jsonl"
        written, size = _kept(file), self.generator.together
        batches = [numbers[at : at + size] for at in range(0, len(numbers), size)]
        rest = [batch for batch in batches if batch[0] not in written]
        with (
            explain_write_errors(file),
            file.open("a", encoding="utf-8") as stream,
            progress.task("Writing queries for", len(numbers), "documents", done=len(written)) as bar,
        ):
            for found in writer.write([_source(corpus, number) for number in batch] for batch in rest):
                written |= dict(found)
                stream.write(json.dumps(found) + "\n")  # a line a batch: a kill leaves all of it or nothing
                stream.flush()
                bar.advance(len(found))
                if len(written) * self.per_document >= _ENOUGH and not any(map(any, written.values())):
                    break
        dropped = Counter[str]()
        queries = sifted(((corpus[number], written[number]) for number in sorted(written)), dropped)
        if self.round_trip and queries:
            queries = self._found(self.round_trip, queries, state, dropped)
        return self._finish(state, corpus, written, list(queries.values()), dropped)

    def _chosen(self, corpus: Corpus) -> list[int]:
        """The numbers of the documents to write for, the longest first: what does not fit in memory shows at once."""
        sizes, long_enough = list[int](), list[int]()
        for number, text in enumerate(corpus.texts()):
            sizes.append(len(text))
            long_enough += [number] * (len(words_of(text)) >= self.least_words)
        if not long_enough:
            raise DataError(f"{self.corpus.place()} has no document of {self.least_words} words. Lower least_words")
        if short := len(corpus) - len(long_enough):
            progress.note(
                f"{short} of {len(corpus)} documents have fewer than {self.least_words} words: not asked about"
            )
        ids = corpus.ids
        drawn = sorted(long_enough, key=lambda number: draw(f"{self.seed} {ids[number]}"))
        return sorted(drawn[: self.most_documents], key=lambda number: (-sizes[number], number))

    def _found(
        self, system: System, queries: dict[str, Question], state: Unfinished, dropped: Counter[str]
    ) -> dict[str, Question]:
        """The queries for which a system ranks a document that they were made from among the first."""
        file = state.folder / "round_trip.trec"
        if not file.exists():
            progress.note(f"Looking for the documents with {system.title or system.label()}")
            write(state.folder / "asked", [("all", list(queries.values()))])
            dataset = DatasetSplit(Asked(self.corpus, state.folder / "asked"), "all")
            run = system.rank(dataset, self.round_trip_depth).run
            write_run(file.with_suffix(".partial"), run)
            file.with_suffix(".partial").replace(file)
        run = read_run(file, may_be_empty=True)
        kept = {
            key: query
            for key, query in queries.items()
            if best(run.get(id_of(query), {}), self.round_trip_depth).keys() & set(query.documents)
        }
        if lost := len(queries) - len(kept):
            dropped[NOT_FOUND] += lost
        return kept

    def _inputs(self) -> dict[str, Path | str]:
        inputs = self.corpus.inputs("corpus")
        inputs |= {f"generator.{name}": place for name, place in self.generator.inputs().items()}
        return inputs | {f"round_trip.{n}": p for n, p in (self.round_trip.inputs() if self.round_trip else {}).items()}

    def _finish(
        self,
        state: Unfinished,
        corpus: Corpus,
        written: dict[int, list[str]],
        queries: list[Question],
        dropped: Counter[str],
    ) -> Generated:
        splits = {corpus.ids[n]: split_of(corpus[n], self.seed, self.dev_share) for n in written}
        parts = dict(sorted(split_up(queries, splits, dropped), reverse=True))  # train before dev
        if not parts:
            state.discard()
            why = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
            raise DataError(
                f"no query is left of what was written for {len(written)} documents of {self.corpus.place()} ({why}). "
                "Is the generator made for this, the prompt right, round_trip too strict?"
            )
        made = Generated(
            self.output,
            len(written),
            {split: len(part) for split, part in parts.items()},
            dict(dropped),
            tuple(self._shown(corpus, [query for part in parts.values() for query in part])),
        )
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            write(folder, parts.items())
            write_json(folder / "generated.json", {**asdict(made), "folder": self.output.name})
            write_provenance(folder, recipe.dump(replace(self, resume=False), {"verb": self.name}), self._inputs())
        state.discard()
        return made

    def _shown(self, corpus: Corpus, queries: list[Question]) -> Iterator[tuple[str, str]]:
        for query in sorted(queries, key=lambda query: draw(f"shown {id_of(query)}"))[:_SHOWN]:
            document = corpus[corpus.number_of[query.documents[0]]]
            yield query.text, " ".join(full_text(document.title, document.text).split())[:_LETTERS]


def _source(corpus: Corpus, number: int) -> Source:
    document = corpus[number]
    return Source(number, document.title, document.text)


def _kept(file: Path) -> dict[int, list[str]]:
    """What an unfinished file has, by document; what a kill left of a batch is cut off."""
    if not file.exists():
        return {}
    lines = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    file.write_bytes(b"".join(lines))
    return {number: texts for line in lines for number, texts in json.loads(line)}

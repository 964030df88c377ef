"""Generate queries for documents with a language model, as training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from encloze import progress, recipe
from encloze.commands._begin_run import begin_run
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, GenerationResult
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.formats.generated_queries import GeneratedQueries
from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.data.query_filter import NOT_RETRIEVED, filter_queries, group_by_split, split_of_document
from encloze.data.query_folder import query_id, write_query_folder
from encloze.data.records import LabeledQuery, full_text
from encloze.data.runs import read_run, top_documents, write_run
from encloze.data.words import split_words
from encloze.errors import DataError
from encloze.generators.base import Generator, SourceDocument
from encloze.settings import NonNegativeInt, Seed
from encloze.storage.cached_files import store_with_checksum
from encloze.storage.checked_json import checked_line, read_checked_lines
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import write_json
from encloze.storage.provenance import describe_input, write_provenance
from encloze.storage.resumable_file import is_complete
from encloze.storage.run_state import RunState
from encloze.systems.base import System

_NUM_EXAMPLES, _EXAMPLE_CHARACTERS = 5, 80  # queries in the report, and characters of their documents
MIN_TEXTS_TO_STOP = 200  # generation stops if that many texts are all empty


@dataclass(frozen=True)
class Generate(Command, name="generate"):
    """Generate queries for documents with a language model.

    Writes queries and judgments in BEIR layout: each query is judged relevant to the document from which it was
    generated. The documents are not copied. To combine them with the generated queries in other commands, set
    ``dataset: {type: generated_queries, corpus: CORPUS, path: OUTPUT}``.

    Example:
        >>> Generate(corpus=corpus, generator=generator, output=Path("queries")).run()  # doctest: +SKIP
    """

    corpus: Format
    """Documents: a folder or file in any known format. Queries in it are ignored."""
    generator: Generator
    """Language model: a model folder, a Hugging Face hub id, or an endpoint (a server that runs the model)."""
    output: Path
    """Folder to write the generated queries and judgments to."""
    queries_per_document: int = 3
    """Number of queries to generate for each document. The paper on GPL uses 3 or more, the one on Promptagator 8."""
    max_documents: int | None = None
    """Maximum number of documents to generate queries for. They are sampled at random, the same ones for the same seed.
    By default all documents are used."""
    min_words: NonNegativeInt = 10
    """Minimum number of words of a document, including its title; shorter documents are skipped."""
    dev_ratio: float = 0.1
    """Fraction of the documents whose queries form the split dev; the queries of the other documents form the
    split train."""
    round_trip: System | None = None
    """System for round-trip filtering (Promptagator), such as bm25 or a model: a query is rejected if the system does
    not retrieve its document."""
    round_trip_depth: int = 1
    """Maximum rank of the document in round-trip filtering: a query is rejected if the system of round_trip ranks its
    document lower."""
    seed: Seed = 0
    """Seed of all random numbers."""
    resume: bool = False
    """Whether to continue an unfinished generation that was started with the same settings."""
    overwrite: bool = False
    """Whether to replace an existing output."""

    def __post_init__(self) -> None:
        for name in ("queries_per_document", "round_trip_depth", "max_documents"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not 0 <= self.dev_ratio < 1:
            raise ValueError(f"dev_ratio must be 0 or more and below 1, not {self.dev_ratio}")

    @locks_output
    def run(self) -> GenerationResult:
        """Generate the queries and write the output folder.

        Returns:
            Numbers of documents, queries and rejected texts, and a few examples.

        Raises:
            DataError: No document is long enough, or all generated texts are rejected.
            EndpointError: The server of an endpoint fails.
        """
        state = begin_run(self)
        corpus = Corpus.from_format(self.corpus)
        numbers = self._select_documents(corpus)
        generator = self.generator.prepare(self.queries_per_document, self.seed)
        inputs = {name: describe_input(path) for name, path in self._inputs().items() if not name.startswith("corpus")}
        state.open({"corpus": corpus.fingerprint, **inputs})
        file = state.folder / "generated.jsonl"
        generated, batch_size = _read_generated(file), self.generator.documents_per_batch
        batches = [numbers[start : start + batch_size] for start in range(0, len(numbers), batch_size)]
        remaining = [batch for batch in batches if batch[0] not in generated]
        with (
            explain_write_errors(file),
            file.open("a", encoding="utf-8") as stream,
            progress.task("Generating queries for", len(numbers), "documents", completed=len(generated)) as task,
        ):
            for texts in generator.generate([_source(corpus, number) for number in batch] for batch in remaining):
                generated |= dict(texts)
                stream.write(checked_line(texts))  # one line per batch: a killed run keeps whole batches
                stream.flush()
                task.advance(len(texts))
                num_texts = len(generated) * self.queries_per_document
                if num_texts >= MIN_TEXTS_TO_STOP and not any(map(any, generated.values())):
                    break
        rejected = Counter[str]()
        queries = filter_queries(((corpus[number], generated[number]) for number in sorted(generated)), rejected)
        if self.round_trip and queries:
            queries = self._round_trip_filter(self.round_trip, queries, state, rejected)
        return self._write_output(state, corpus, generated, list(queries.values()), rejected)

    def _select_documents(self, corpus: Corpus) -> list[int]:
        """Sample documents with enough words. Return their indices, longest first: memory errors then occur early."""
        lengths, candidates = list[int](), list[int]()
        for number, text in enumerate(corpus.texts()):
            lengths.append(len(text))
            candidates += [number] * (len(split_words(text)) >= self.min_words)
        if not candidates:
            raise DataError(
                f"{self.corpus.location()} has no document with {self.min_words} or more words. Lower min_words"
            )
        if skipped := len(corpus) - len(candidates):
            progress.note(
                f"{skipped} of {len(corpus)} documents have fewer than {self.min_words} words and are skipped"
            )
        ids = corpus.ids
        sample = sorted(candidates, key=lambda number: hash_to_unit_interval(f"{self.seed} {ids[number]}"))
        return sorted(sample[: self.max_documents], key=lambda number: (-lengths[number], number))

    def _round_trip_filter(
        self, system: System, queries: dict[str, LabeledQuery], state: RunState, rejected: Counter[str]
    ) -> dict[str, LabeledQuery]:
        """Return the queries whose own document is among the system's top ``round_trip_depth`` documents."""
        file = state.folder / "round_trip.trec"
        if not is_complete(file):
            progress.note(f"Round-trip filtering with {system.title or system.default_title()}")
            folder = state.folder / "unfiltered"
            write_query_folder(folder, {"all": list(queries.values())})
            dataset = DatasetSplit(GeneratedQueries(self.corpus, folder), "all")
            partial = file.with_suffix(".partial")
            write_run(partial, system.rank(dataset, self.round_trip_depth).run)
            store_with_checksum(partial, file)
        run = read_run(file, may_be_empty=True)
        retrieved = {
            key: query
            for key, query in queries.items()
            if top_documents(run.get(query_id(query), {}), self.round_trip_depth).keys() & set(query.document_ids)
        }
        if count := len(queries) - len(retrieved):
            rejected[NOT_RETRIEVED] += count
        return retrieved

    def _inputs(self) -> dict[str, Path | str]:
        inputs = self.corpus.inputs("corpus")
        inputs |= {f"generator.{name}": path for name, path in self.generator.inputs().items()}
        return inputs | {f"round_trip.{n}": p for n, p in (self.round_trip.inputs() if self.round_trip else {}).items()}

    def _write_output(
        self,
        state: RunState,
        corpus: Corpus,
        generated: dict[int, list[str]],
        queries: list[LabeledQuery],
        rejected: Counter[str],
    ) -> GenerationResult:
        """Write the output folder, delete the work folder, and return the result."""
        location = self.corpus.location()
        split_of = {corpus.ids[n]: split_of_document(corpus[n], self.seed, self.dev_ratio) for n in generated}
        splits = dict(sorted(group_by_split(queries, split_of, rejected).items(), reverse=True))  # train before dev
        if not splits:
            state.delete()
            reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
            raise DataError(
                f"all texts that were generated for {len(generated)} documents of {location} were "
                f"rejected ({reasons}). Check that the generator is a query generation model, check its prompt, or, "
                "if round_trip is set, raise round_trip_depth"
            )
        result = GenerationResult(
            self.output,
            len(generated),
            {split: len(split_queries) for split, split_queries in splits.items()},
            dict(rejected),
            tuple(_examples(corpus, [query for split_queries in splits.values() for query in split_queries])),
        )
        with state.write_output(overwrite=self.overwrite) as folder:
            write_query_folder(folder, splits)
            write_json(folder / "generated.json", {**asdict(result), "folder": self.output.name})
            write_provenance(folder, recipe.dump(replace(self, resume=False), {"verb": self.name}), self._inputs())
        return result


def _examples(corpus: Corpus, queries: list[LabeledQuery]) -> Iterator[tuple[str, str]]:
    """Yield a few generated queries as examples, each with the beginning of the document of the query."""
    sample = sorted(queries, key=lambda query: hash_to_unit_interval(f"shown {query_id(query)}"))
    for query in sample[:_NUM_EXAMPLES]:
        document = corpus[corpus.number_of[query.document_ids[0]]]
        text = " ".join(full_text(document.title, document.text).split())
        yield query.text, text[:_EXAMPLE_CHARACTERS]


def _source(corpus: Corpus, number: int) -> SourceDocument:
    document = corpus[number]
    return SourceDocument(number, document.title, document.text)


def _read_generated(file: Path) -> dict[int, list[str]]:
    """Read the generated texts in ``file``, keyed by document index; delete an incomplete last line of the file."""
    if not file.exists():
        return {}
    lines = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    file.write_bytes(b"".join(lines))
    return {number: texts for batch in read_checked_lines(file) for number, texts in batch}

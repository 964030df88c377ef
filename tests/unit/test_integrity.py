"""One flipped bit in any file of an index, a model, a run, a result, a work folder or the cache is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from test_retriever import Letters

import toys
from encloze.cli.main import main
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.in_memory import corpus_format
from encloze.data.records import Query, Representation, Run
from encloze.data.resumable_runs import write_rankings
from encloze.data.runs import read_run
from encloze.errors import EnclozeError
from encloze.evaluation.report import Report
from encloze.execution.encodings import encode_corpus
from encloze.retrieval.index_building import build_index
from encloze.retrieval.index_folder import view_entries
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.storage.atomic import atomic_folder
from encloze.storage.checked_json import checked_line, read_checked_lines
from encloze.storage.manifest import write_manifest
from encloze.storage.model_folders import locate
from encloze.storage.run_state import RunState
from encloze.storage.stage_record import StageRecord
from encloze.text.tokens import TokenizedTexts
from encloze.training.checkpoint import load_checkpoint, save_checkpoint

Read = Callable[[], object]


class TwoViews(Letters):
    """The letters as embeddings, and their counts as term weights."""

    def __init__(self) -> None:
        super().__init__()
        self.views = {"dense": 12, "sparse": 26}

    def represent_documents(self, texts: Iterator[str], count: int) -> Iterator[Representation]:
        texts = list(texts)
        counts = [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        yield Representation(self.embed(texts), csr_matrix(np.array(counts, np.float32)))


@contextmanager
def flipped(file: Path, position: int, bit: int) -> Iterator[None]:
    """Flip one bit of a file, and flip it back at the end, or restore the file if it was removed or written again."""
    before = file.read_bytes()
    changed = bytearray(before)
    changed[position] ^= 1 << bit
    file.write_bytes(changed)
    try:
        yield
    finally:
        file.write_bytes(before)


def files_in(*folders: Path) -> list[Path]:
    found = itertools.chain.from_iterable(folder.rglob("*") for folder in folders)
    return sorted(file for file in found if file.is_file() and file.stat().st_size and file.name != "README.md")


# What is read, by its kind: the files, and a function that reads them.


def an_index(folder: Path, data: Path) -> tuple[list[Path], Read]:
    corpus, indexes = Corpus.from_format(Format.from_name(str(data))), [Flat(), Inverted(), Bm25()]
    with atomic_folder(folder / "index") as staging:
        build_index(corpus, indexes, TwoViews(), staging)
    return files_in(folder / "index"), lambda: view_entries(folder / "index")


def a_model(folder: Path, data: Path) -> tuple[list[Path], Read]:
    write_manifest(toys.write_model(folder / "model"))
    return files_in(folder / "model"), lambda: locate(folder / "model")


def negatives(folder: Path, data: Path) -> tuple[list[Path], Read]:
    assert main(["mine", "--dataset", str(data), "--output", str(folder / "negatives")]) == 0
    return files_in(folder / "negatives"), lambda: read_run(folder / "negatives")


def a_report(folder: Path, data: Path) -> tuple[list[Path], Read]:
    output = str(folder / "report")
    assert main(["evaluate", "--dataset", str(data), "--systems", "bm25", "--output", output]) == 0
    return files_in(folder / "report"), lambda: Report.load(folder / "report")


def an_unfinished_training(folder: Path, data: Path) -> tuple[list[Path], Read]:
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = RunState(folder / "trained")
    state.prepare({"seed": 0}, resume=False, overwrite=False)
    state.open({"corpus": "1f3a"})
    state.append_log({"step": 1, "loss": 2.0})
    save_checkpoint(state.folder, 1, module, optimizer)

    def resume() -> None:
        state.prepare({"seed": 0}, resume=True, overwrite=False)
        state.open({"corpus": "1f3a"})
        load_checkpoint(state.folder, module, optimizer)

    return files_in(state.folder), resume


def unfinished_rankings(folder: Path, data: Path) -> tuple[list[Path], Read]:
    queries = [Query(query["_id"], query["text"]) for query in toys.queries()[:6]]

    def rank(batch: object) -> Run:
        raise KeyboardInterrupt

    def write(name: str, rank: Callable[..., Run]) -> None:
        write_rankings(folder / "rankings" / name, queries, rank, batch_size=2)

    (folder / "rankings").mkdir()
    write("whole.trec", lambda batch: {query.id: {"d1": 0.5} for query in batch})
    calls = itertools.count()
    with pytest.raises(KeyboardInterrupt):
        write("half.trec", lambda batch: rank(batch) if next(calls) else {query.id: {"d1": 0.5} for query in batch})

    def resume() -> None:
        write("whole.trec", rank)
        with pytest.raises(KeyboardInterrupt):
            write("half.trec", rank)

    return [file for file in files_in(folder / "rankings") if file.suffix != ".xxh3_128"], resume


def generated_texts(folder: Path, data: Path) -> tuple[list[Path], Read]:
    file = folder / "generated.jsonl"
    file.write_text("".join(checked_line([[number, ["what ends?", "שאלה"]]]) for number in range(5)), encoding="utf-8")
    return [file], lambda: read_checked_lines(file)


def a_stage_record(folder: Path, data: Path) -> tuple[list[Path], Read]:
    StageRecord(folder / "stages.json").start("mined", "1f3a", folder)
    return [folder / "stages.json"], lambda: StageRecord(folder / "stages.json")


KINDS = (
    an_index,
    a_model,
    negatives,
    a_report,
    an_unfinished_training,
    unfinished_rankings,
    generated_texts,
    a_stage_record,
)
COUNTS = [15, pytest.param(250, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_one_flipped_bit_is_noticed_and_the_file_is_named(
    kind: Callable[[Path, Path], tuple[list[Path], Read]], count: int, tmp_path: Path, dataset: Path
) -> None:
    files, read = kind(tmp_path, dataset)
    read()
    random = np.random.default_rng(0)
    for number in range(count):
        file = files[number % len(files)]
        position, bit = int(random.integers(file.stat().st_size)), int(random.integers(8))
        with flipped(file, position, bit):
            with pytest.raises(EnclozeError) as error:
                read()
                pytest.fail(f"bit {bit} of byte {position} of {file} was flipped, and nothing was noticed")
            assert file.name.removesuffix(".progress") in str(error.value), (file, position, bit)
    read()


def test_a_model_with_the_manifest_of_another_program_is_used_as_it_is(model: Path) -> None:
    for manifest in ('{"name": "an extension"}', "[]", '{"files": {"main.js": "main.1f3a.js"}}'):
        (model / "manifest.json").write_text(manifest)
        assert locate(model) == model


# The cache


def cached_corpus(model: Path, data: Path) -> object:
    return Corpus.from_format(Format.from_name(str(data))).fingerprint


def cached_tokens(model: Path, data: Path) -> object:
    texts = TokenizedTexts.from_texts(toys.texts(), 40, toys.tokenizer(), "key")
    return texts.ids.tobytes(), texts.word_starts.tobytes(), texts.offsets.tobytes()


def cached_documents(model: Path, data: Path) -> object:
    """Documents of a Python program."""
    rows = ((str(number), {"text": text}) for number, text in enumerate(toys.texts()))
    return corpus_format(rows).location().read_bytes()


def cached_embeddings(model: Path, data: Path) -> object:
    corpus = Corpus.from_format(Format.from_name(str(data)))
    return b"".join(part.dense.tobytes() for part in encode_corpus(Letters(), corpus))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "read", [cached_corpus, cached_tokens, cached_documents, cached_embeddings], ids=lambda read: read.__name__
)
def test_one_flipped_bit_in_the_cache_changes_no_result(
    read: Callable[[Path, Path], object], count: int, dataset: Path, model: Path, cache: Path
) -> None:
    """What is damaged is computed again, or refused with the name of the file."""
    expected = read(model, dataset)
    random = np.random.default_rng(0)
    for number in range(count):
        files = [file for file in files_in(cache) if file.name != "verified.txt"]
        file = files[number % len(files)]
        with flipped(file, int(random.integers(file.stat().st_size)), int(random.integers(8))):
            try:
                assert read(model, dataset) == expected
            except EnclozeError as error:
                assert file.name.removesuffix(".xxh3_128") in str(error)

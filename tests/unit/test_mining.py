"""Mining: relevant documents and their near-duplicates are never negatives; the others are in order of ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toys
from encloze.cli.main import main
from encloze.commands import mine as mining
from encloze.commands.base import MiningResult
from encloze.commands.mine import Mine
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query, Run
from encloze.data.resumable_runs import iterate_rankings, write_rankings
from encloze.data.runs import read_run, write_run
from encloze.encoders.base import load_scorer
from encloze.encoders.torch import TorchEncoder
from encloze.errors import DataError, StorageError
from encloze.retrieval.retriever import Retriever
from encloze.systems.run import RunFile

WORDS = "river engine violin comet bakery harbour glacier orchard library reactor".split()


class Killed(BaseException):
    """Simulates a kill of the process."""


def write(folder: Path, texts: list[str], queries: dict[str, str], relevant: dict[str, list[str]]) -> Format:
    """Write a data set in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    rows = [{"_id": id_, "text": text} for id_, text in queries.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = [f"{query}\t{document}\t1\n" for query, ids in relevant.items() for document in ids]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return Format.from_name(str(folder))


def mine_run(tmp_path: Path, data: Format, run: Run, **more: Any) -> tuple[MiningResult, Run]:
    """Mine from the rankings of ``run``, and return the result and the run of negatives."""
    write_run(tmp_path / "given.trec", run)
    result = Mine(data, tmp_path / "out", (RunFile(tmp_path / "given.trec"),), overwrite=True, **more).run()
    return result, read_run(tmp_path / "out") if result.negatives else {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_a_document_relevant_to_the_same_text_is_never_a_negative(tmp_path: Path, cache: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(4, 9))) for _ in range(12)]
    texts[7] = texts[3].upper() + "!"  # equal except for case and punctuation
    ids = [f"d{n}" for n in range(12)]
    repeated = {"q4": "Question  0?", "q5": "Question  1?"}
    queries = {f"q{n}": f"question {n % 4}" for n in range(6)} | repeated
    text_of = {f"q{n}": n % 4 for n in range(6)}
    relevant = {query: rng.choice(ids, rng.integers(1, 4), replace=False).tolist() for query in queries}
    data = write(tmp_path / f"data{seed}", texts, queries, relevant)
    run = {query: {document: float(rng.random()) for document in ids} for query in queries}
    result, negatives = mine_run(tmp_path, data, run, num_negatives=20)
    num_relevant = 0
    for query, text in text_of.items():
        excluded = {d for other, same in text_of.items() if same == text for d in relevant[other]}
        num_relevant += len(excluded)
        duplicates = {"d3", "d7"} if excluded & {"d3", "d7"} else set()
        assert not (excluded | duplicates) & negatives.get(query, {}).keys()
    assert result.negatives + sum(result.dropped.values()) == 6 * 12
    assert result.dropped["relevant"] == num_relevant


@pytest.fixture
def toy(tmp_path: Path, cache: Path) -> tuple[Format, Run]:
    """Ten distinct texts, one query whose relevant document is d0, and a ranking of d0 to d9."""
    texts = [f"{word} {' '.join(WORDS[n:] + WORDS[:n])}" for n, word in enumerate(WORDS)]
    return write(tmp_path / "toy", texts, {"q": "what?"}, {"q": ["d0"]}), {"q": {f"d{n}": 10.0 - n for n in range(10)}}


def test_the_highest_ranks_within_the_range_are_taken(tmp_path: Path, toy: Any) -> None:
    settings = {"range_min": 2, "range_max": 8, "num_negatives": 4, "near_duplicate_threshold": None}
    result, negatives = mine_run(tmp_path, *toy, **settings)
    assert list(negatives["q"]) == ["d2", "d3", "d4", "d5"] and result.negatives == 4 and result.dropped == {}
    assert (tmp_path / "out" / "mined.json").is_file() and (tmp_path / "out" / "recipe.yaml").is_file()


def test_several_sources_are_interleaved(tmp_path: Path, toy: Any) -> None:
    data, run = toy
    reversed_run = {"q": {document: -score for document, score in run["q"].items()}}
    for name, ranking in (("forward", run), ("reversed", reversed_run)):
        write_run(tmp_path / f"{name}.trec", ranking)
    sources = tuple(RunFile(tmp_path / f"{name}.trec") for name in ("forward", "reversed"))
    Mine(data, tmp_path / "out", sources, num_negatives=5, near_duplicate_threshold=None).run()
    assert list(read_run(tmp_path / "out")["q"]) == ["d9", "d1", "d8", "d2", "d7"]  # d0 is relevant


class WordScorer:
    """Scorer whose score falls by 0.1 for each position of the first word in WORDS, from ``highest``."""

    name = "words"

    def __init__(self, highest: float = 1.0) -> None:
        self.highest = highest

    def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        return np.array([self.highest - WORDS.index(text.split()[0]) / 10 for _, text in pairs], np.float32)


@pytest.mark.parametrize(
    ("margins", "highest", "first"),
    [
        ({"absolute_margin": 0.25}, 1.0, "d3"),
        ({"absolute_margin": -9.0}, 1.0, "d1"),
        ({"relative_margin": 0.15}, 1.0, "d2"),
        ({"relative_margin": 0.15}, -1.0, "d2"),  # 0.15 below the relevant document for negative scores, too
        ({"relative_margin": 0.15, "absolute_margin": 0.25}, 1.0, "d3"),
    ],
)
def test_margins_have_the_meaning_of_sentence_transformers(
    margins: dict[str, float], highest: float, first: str, tmp_path: Path, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "load_scorer", lambda *_: WordScorer(highest))
    result, negatives = mine_run(tmp_path, *toy, near_duplicate_threshold=None, scorer="words", **margins)
    assert next(iter(negatives["q"])) == first
    within_margin = result.dropped.get("scored within the margin of a relevant document", 0)
    assert within_margin == int(first[1:]) - 1


def test_a_bi_encoder_can_be_the_scorer(tmp_path: Path, toy: Any, model: Path) -> None:
    scores = load_scorer(str(model), "float32").score([("what?", f"{word} text") for word in WORDS[:3]] * 2)
    assert scores.shape == (6,) and scores[:3].tolist() == scores[3:].tolist() and len(set(scores.tolist())) == 3
    settings = {"near_duplicate_threshold": None, "absolute_margin": -1e9, "precision": "float32"}
    result, _ = mine_run(tmp_path, *toy, scorer=str(model), **settings)
    assert result.negatives == 9


def test_a_model_that_ranks_and_scores_encodes_each_document_once(
    tmp_path: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, encode = list[int](), TorchEncoder.represent_documents

    def counted(self: TorchEncoder, texts: Any, count: int) -> Any:
        encoded.append(count)
        return encode(self, texts, count)

    monkeypatch.setattr(TorchEncoder, "represent_documents", counted)
    flags = ("--sources", f"bm25,{model}", "--absolute_margin", "-9")
    assert run_mine(dataset, tmp_path / "shared", *flags, "--scorer", str(model)) == 0
    assert encoded == [len(DatasetSplit(Format.from_name(str(dataset)), "train").corpus)]
    monkeypatch.setattr(Mine, "_is_scorer", lambda *_: False)
    assert run_mine(dataset, tmp_path / "separate", *flags, "--scorer", str(model)) == 0
    runs = [read_run(tmp_path / name) for name in ("shared", "separate")]
    assert runs[0] and runs[0] == runs[1]


def test_identical_texts_leave_no_negatives(tmp_path: Path, cache: Path) -> None:
    data = write(tmp_path / "data", ["a river runs through it"] * 5, {"q": "what?"}, {"q": ["d0"]})
    with pytest.warns(UserWarning, match="1 of 1 queries have no negatives: increase range_max"):
        result, _ = mine_run(tmp_path, data, {"q": {f"d{n}": 1.0 for n in range(5)}})
    assert result.dropped == {"relevant": 1, "near-duplicate of a relevant document": 4}
    assert result.queries_without_negatives == 1


def run_mine(dataset: Path, output: Path, *flags: str) -> int:
    return main(["mine", "--dataset", str(dataset), "--num_negatives", "5", "--output", str(output), *flags])


def test_an_interrupted_filter_is_resumed(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "RERANKER_BATCH_SIZE", 3)
    calls = []

    class ScorerKilledOnce(WordScorer):
        """Scorer that is killed in its third batch."""

        def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
            calls.append(len(pairs))
            if len(calls) == 3:
                raise Killed
            return np.array([len(text) / 1000 for _, text in pairs], np.float32)

    monkeypatch.setattr(mining, "load_scorer", lambda *_: ScorerKilledOnce())
    monkeypatch.setattr(mining, "describe_input", str)
    flags = ("--scorer", "words", "--absolute_margin", "-9")
    with pytest.raises(Killed):
        run_mine(dataset, tmp_path / "out", *flags)
    with (tmp_path / "out.checkpoint" / "negatives.jsonl.partial").open("a") as stream:
        stream.write('{"query": "q-com')  # a line that the kill cut off
    with monkeypatch.context() as patch:
        patch.setattr("encloze.systems.bm25.Bm25.prepare", None)  # the finished ranking is not repeated
        assert run_mine(dataset, tmp_path / "out", *flags, "--resume") == 0
    assert len(calls) == 3 + 5  # of 7 batches, 2 were finished
    assert run_mine(dataset, tmp_path / "uninterrupted", *flags) == 0
    assert (tmp_path / "out" / "run.trec").read_text() == (tmp_path / "uninterrupted" / "run.trec").read_text()
    assert not list(tmp_path.glob("*.checkpoint"))


def test_an_interrupted_ranking_is_resumed(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_mine(dataset, tmp_path / "uninterrupted") == 0
    monkeypatch.setattr(mining, "RANKING_BATCH_SIZE", 6)
    search, batches = Retriever.run, list[int]()

    def killed_in_the_third_batch(self: Retriever, queries: Any, depth: int = 100) -> Any:
        batches.append(len(queries))
        if len(batches) == 3:
            raise Killed
        return search(self, queries, depth)

    monkeypatch.setattr(Retriever, "run", killed_in_the_third_batch)
    with pytest.raises(Killed):
        run_mine(dataset, tmp_path / "out")
    with (tmp_path / "out.checkpoint" / "source-0.trec.partial").open("a") as stream:
        stream.write("q-comet-repair Q0 riv")  # a line that the kill cut off
    assert run_mine(dataset, tmp_path / "out", "--resume") == 0
    assert batches[3:] == [6, 2]  # of 20 queries, 12 were complete
    assert (tmp_path / "out" / "run.trec").read_text() == (tmp_path / "uninterrupted" / "run.trec").read_text()


@pytest.mark.parametrize("after_kill", ["a line was cut off", "text was lost", "nothing"])
def test_a_run_file_interrupted_anywhere_is_resumed_to_the_same(tmp_path: Path, after_kill: str) -> None:
    queries = [Query(str(number), f"what of {number}?") for number in range(1, 14)]
    run = {query.id: {f"d{n}": 1 / (n + 1) for n in range(int(query.id) % 3)} for query in queries}
    batches: list[list[str]] = []

    def rank(batch: Sequence[Query]) -> Run:
        batches.append([query.id for query in batch])
        if len(batches) - 1 == killed_in:
            raise Killed
        return {query.id: run[query.id] for query in batch}

    killed_in = -1
    complete = tmp_path / "complete.trec"
    write_rankings(complete, queries, rank, batch_size=4)
    assert list(iterate_rankings(complete, queries)) == [list(run[query.id]) for query in queries]
    with pytest.raises(StorageError, match="is damaged: query '1' is out of order"):
        list(iterate_rankings(complete, queries[5:]))
    all_batches = list(batches)
    for number in range(len(all_batches)):
        file, partial = tmp_path / f"{number}.trec", tmp_path / f"{number}.trec.partial"
        batches.clear()
        killed_in = number
        with pytest.raises(Killed):
            write_rankings(file, queries, rank, batch_size=4)
        text = partial.read_text()
        if after_kill != "nothing":
            partial.write_text(f"{text}1 Q0 d" if after_kill == "a line was cut off" else text[:-1])
        batches.clear()
        killed_in = -1
        write_rankings(file, queries, rank, batch_size=4)
        assert file.read_bytes() == complete.read_bytes() and not list(tmp_path.glob("*.p*"))
        assert batches == all_batches[0 if after_kill == "text was lost" else number :]


@pytest.mark.parametrize("changed", ["a source", "a query"])
def test_a_run_with_changed_inputs_is_not_resumed(
    changed: str, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [query["_id"] for query in toys.queries()]
    write_run(tmp_path / "given.trec", {id_: {"river-repair": 1.0, "comet-repair": 0.5} for id_ in ids})
    flags = ("--sources", str(tmp_path / "given.trec"))

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("encloze.commands._negative_filter.max_similarity", kill)
        with pytest.raises(Killed):
            run_mine(dataset, tmp_path / "out", *flags)
    if changed == "a source":
        write_run(tmp_path / "given.trec", {id_: {"comet-repair": 1.0, "river-repair": 0.5} for id_ in ids})
    else:
        file = dataset / "queries.jsonl"
        file.write_text(file.read_text(encoding="utf-8").replace("tell me", "tell us"), encoding="utf-8")
    capsys.readouterr()
    assert run_mine(dataset, tmp_path / "out", *flags, "--resume") == 2
    name = "sources[0].run" if changed == "a source" else "queries"
    assert f"was started with a different {name}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--sources", "[]"), "sources is empty"),
        (("--range_min", "9", "--range_max", "9"), "range_max above range_min"),
        (("--absolute_margin", "0.1"), "set scorer to a bi-encoder or re-ranker"),
        (("--scorer", "minilm"), "set absolute_margin or relative_margin"),
        (("--scorer", "minilm", "--relative_margin", "1.5"), "relative_margin must be below 1, not 1.5; 0.05 means"),
        (("--near_duplicate_threshold", "1.5"), "near_duplicate_threshold must be above 0 and at most 1"),
        (("--split", "nowhere"), "no judgments for the split 'nowhere'"),
    ],
)
def test_wrong_settings_are_rejected(
    flags: tuple[str, ...], message: str, tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_mine(dataset, tmp_path / "out", *flags) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.glob("out*"))


def test_a_run_over_other_queries_is_rejected(tmp_path: Path, toy: Any) -> None:
    with pytest.raises(Exception, match="none of its 1 queries is judged in the split 'train'"):
        mine_run(tmp_path, toy[0], {"other": {"d1": 1.0}})


def test_unknown_documents_of_a_run_are_reported(tmp_path: Path, toy: Any) -> None:
    with pytest.warns(UserWarning, match="1 documents of given are not in .*gone"):
        result, run = mine_run(tmp_path, toy[0], {"q": {"d1": 1.0, "gone": 2.0}})
    assert result.negatives == 1 and list(run["q"]) == ["d1"]
    with pytest.raises(DataError, match="given: none of the 1 documents that it ranks .*'gone'"):
        mine_run(tmp_path, toy[0], {"q": {"gone": 2.0}})

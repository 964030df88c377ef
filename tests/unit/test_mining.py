"""Mining: no relevant document is ever a negative, nor what nearly is one; the rest comes in the order of its ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toys
from encloze.cli.main import main
from encloze.commands import mine as mining
from encloze.commands._ranked import in_order, rank_into
from encloze.commands.base import Mined
from encloze.commands.mine import ABOVE, NEAR, RELEVANT, Mine
from encloze.data.dataset import DatasetSplit
from encloze.data.duplicates import Shingled
from encloze.data.formats.base import Format
from encloze.data.records import Query
from encloze.data.runs import read_run, write_run
from encloze.encoders.base import load_scorer
from encloze.errors import DataError, StorageError
from encloze.retrieval.retriever import Retriever
from encloze.systems.run import RunFile

WORDS = "river engine violin comet bakery harbour glacier orchard library reactor".split()


def write(folder: Path, texts: list[str], queries: dict[str, str], relevant: dict[str, list[str]]) -> Format:
    """A data set in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    rows = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = [{"_id": id_, "text": text} for id_, text in queries.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    lines = [f"{query}\t{document}\t1\n" for query, documents in relevant.items() for document in documents]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return Format.named(str(folder))


def mined(tmp_path: Path, data: Format, run: dict[str, dict[str, float]], **more: Any) -> tuple[Mined, dict[str, Any]]:
    write_run(tmp_path / "given.trec", run)
    made = Mine(data, tmp_path / "out", (RunFile(tmp_path / "given.trec"),), overwrite=True, **more).run()
    return made, read_run(tmp_path / "out") if made.negatives else {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_what_is_relevant_to_a_question_is_never_its_negative(tmp_path: Path, cache: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, draw.integers(4, 9))) for _ in range(12)]
    texts[7] = texts[3].upper() + "!"  # the same but for capitals and signs
    ids = [f"d{n}" for n in range(12)]
    asked_twice = {"q4": "Question  0?", "q5": "Question  1?"}
    queries = {f"q{n}": f"question {n % 4}" for n in range(6)} | asked_twice
    asks = {f"q{n}": n % 4 for n in range(6)}
    relevant = {query: draw.choice(ids, draw.integers(1, 4), replace=False).tolist() for query in queries}
    data = write(tmp_path / f"data{seed}", texts, queries, relevant)
    run = {query: {document: float(draw.random()) for document in ids} for query in queries}
    made, found = mined(tmp_path, data, run, keep=20)
    for query, asked in asks.items():
        known = {d for other, same in asks.items() if same == asked for d in relevant[other]}
        alike = {"d3", "d7"} if known & {"d3", "d7"} else set()
        assert not (known | alike) & found.get(query, {}).keys()
    assert made.negatives + sum(made.dropped.values()) == 6 * 12
    assert made.dropped[RELEVANT] == sum(
        len({d for other, same in asks.items() if same == asked for d in relevant[other]}) for asked in asks.values()
    )


@pytest.fixture
def toy(tmp_path: Path, cache: Path) -> tuple[Format, dict[str, dict[str, float]]]:
    """Ten different texts; one question, whose answer is d0, and all ten in their order."""
    texts = [f"{word} {' '.join(WORDS[n:] + WORDS[:n])}" for n, word in enumerate(WORDS)]
    return write(tmp_path / "toy", texts, {"q": "what?"}, {"q": ["d0"]}), {"q": {f"d{n}": 10.0 - n for n in range(10)}}


def test_the_highest_ranks_are_kept_but_for_those_skipped(tmp_path: Path, toy: Any) -> None:
    made, found = mined(tmp_path, *toy, skip=2, depth=8, keep=4, similarity=None)
    assert list(found["q"]) == ["d2", "d3", "d4", "d5"] and made.negatives == 4 and made.dropped == {}
    assert (tmp_path / "out" / "mined.json").is_file() and (tmp_path / "out" / "recipe.yaml").is_file()


def test_sources_take_turns(tmp_path: Path, toy: Any) -> None:
    data, run = toy
    backwards = {"q": {document: -score for document, score in run["q"].items()}}
    for name, ranking in (("forth", run), ("back", backwards)):
        write_run(tmp_path / f"{name}.trec", ranking)
    sources = tuple(RunFile(tmp_path / f"{name}.trec") for name in ("forth", "back"))
    Mine(data, tmp_path / "out", sources, keep=5, similarity=None).run()
    assert list(read_run(tmp_path / "out")["q"]) == ["d9", "d1", "d8", "d2", "d7"]  # d0 is the answer


class Guide:
    """Scores by the number after the first word."""

    name = "guide"

    def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        return np.array([1.0 - WORDS.index(text.split()[0]) / 10 for _, text in pairs], np.float32)


@pytest.mark.parametrize(
    ("margins", "first"), [({"margin": 0.25}, "d3"), ({"relative_margin": 0.85}, "d2"), ({"margin": -9.0}, "d1")]
)
def test_margins_leave_out_what_scores_too_near(
    margins: dict[str, float], first: str, tmp_path: Path, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "load_scorer", lambda *_: Guide())
    made, found = mined(tmp_path, *toy, similarity=None, guide="guide", **margins)
    assert next(iter(found["q"])) == first
    assert made.dropped.get(ABOVE, 0) == int(first[1:]) - 1


def test_a_re_ranker_or_a_bi_encoder_may_guide(tmp_path: Path, toy: Any, model: Path) -> None:
    data, run = toy
    scores = load_scorer(str(model), "float32").score([("what?", f"{word} text") for word in WORDS[:3]] * 2)
    assert scores.shape == (6,) and scores[:3].tolist() == scores[3:].tolist() and len(set(scores.tolist())) == 3
    made, _ = mined(tmp_path, data, run, similarity=None, guide=str(model), margin=-1e9, precision="float32")
    assert made.negatives == 9


def test_texts_that_are_all_the_same_leave_nothing(tmp_path: Path, cache: Path) -> None:
    data = write(tmp_path / "data", ["a river runs through it"] * 5, {"q": "what?"}, {"q": ["d0"]})
    with pytest.warns(UserWarning, match="1 of 1 queries have no negative left"):
        made, _ = mined(tmp_path, data, {"q": {f"d{n}": 1.0 for n in range(5)}})
    assert made.dropped == {RELEVANT: 1, NEAR: 4} and made.without == 1


def test_mining_goes_on_where_it_was_killed(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "_QUERIES", 3)

    def run(name: str, *more: str) -> int:
        return main(["mine", "--dataset", str(dataset), "--keep", "5", "--output", str(tmp_path / name), *more])

    class Killed(BaseException):
        """The process is gone."""

    assert run("whole") == 0
    asked, whole = [], mining._Rules.negatives

    def until_the_third(self: Any, *given: Any) -> Any:
        asked.append(len(given[0]))
        if len(asked) == 3:
            raise Killed
        return whole(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(mining._Rules, "negatives", until_the_third)
        with pytest.raises(Killed):
            run("out")
    with (tmp_path / "out.unfinished" / "queries.jsonl").open("a") as stream:
        stream.write('{"query": "q-com')  # what a kill may leave
    monkeypatch.setattr("encloze.systems.bm25.Bm25.ready", None)  # rankings are kept, too
    assert run("out", "--resume") == 0
    assert (tmp_path / "out" / "run.trec").read_text() == (tmp_path / "whole" / "run.trec").read_text()
    assert not list(tmp_path.glob("*.unfinished"))


def test_ranking_goes_on_where_it_was_killed(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries are ranked in parts; what is half-written is ranked again."""

    def run(name: str, *more: str) -> int:
        return main(["mine", "--dataset", str(dataset), "--keep", "5", "--output", str(tmp_path / name), *more])

    class Killed(BaseException):
        """The process is gone."""

    assert run("whole") == 0
    monkeypatch.setattr("encloze.commands._ranked._QUERIES", 6)
    search, asked = Retriever.run, list[int]()

    def until_the_third(self: Retriever, queries: Any, depth: int = 100) -> Any:
        asked.append(len(queries))
        if len(asked) == 3:
            raise Killed
        return search(self, queries, depth)

    with monkeypatch.context() as patch:
        patch.setattr(Retriever, "run", until_the_third)
        with pytest.raises(Killed):
            run("out")
    partial = tmp_path / "out.unfinished" / "source-0.partial"
    partial.write_text(partial.read_text()[:-9])  # in the middle of a line
    asked.clear()
    asked.extend([0, 0, 0])
    monkeypatch.setattr(Retriever, "run", until_the_third)
    assert run("out", "--resume") == 0
    assert asked[3:] == [6, 3]  # of twenty queries eleven were there whole
    assert (tmp_path / "out" / "run.trec").read_text() == (tmp_path / "whole" / "run.trec").read_text()


def test_a_ranking_that_was_cut_anywhere_goes_on_to_the_same(tmp_path: Path, toy: Any, monkeypatch: Any) -> None:
    """Also within a query's id, of which the beginning may be another's."""
    monkeypatch.setattr("encloze.commands._ranked._QUERIES", 4)
    queries = [Query(str(number), f"what of {number}?") for number in range(1, 14)]
    run = {query.id: {f"d{n}": 1 / (n + 1) for n in range(int(query.id) % 3)} for query in queries}
    write_run(tmp_path / "given.trec", run)
    data, whole = DatasetSplit(toy[0], "train"), tmp_path / "whole.trec"
    data.judgments = {query.id: {"d0": 1} for query in queries}
    source = RunFile(tmp_path / "given.trec")
    rank_into(whole, source, data, queries, 10)
    assert list(in_order(whole, queries)) == [run[query.id] for query in queries]
    text = whole.read_bytes()
    for size in range(len(text)):
        cut = tmp_path / f"{size}.trec"
        cut.with_suffix(".partial").write_bytes(text[:size])
        rank_into(cut, source, data, queries, 10)
        assert cut.read_bytes() == text
        cut.unlink()
    with pytest.raises(StorageError, match="ranks '1', which is not its place: it is damaged"):
        list(in_order(whole, queries[5:]))


@pytest.mark.parametrize("changed", ["a source", "a question"])
def test_mining_does_not_go_on_where_what_it_mines_with_is_another(
    changed: str, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [query["_id"] for query in toys.queries()]
    write_run(tmp_path / "given.trec", {id_: {"river-repair": 1.0, "comet-repair": 0.5} for id_ in ids})
    command = ["mine", "--dataset", str(dataset), "--sources", str(tmp_path / "given.trec")]
    command += ["--output", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(mining._Rules, "negatives", None)
        with pytest.raises(TypeError):
            main(command)
    if changed == "a source":
        write_run(tmp_path / "given.trec", {id_: {"comet-repair": 1.0, "river-repair": 0.5} for id_ in ids})
    else:
        file = dataset / "queries.jsonl"
        file.write_text(file.read_text(encoding="utf-8").replace("tell me", "tell us"), encoding="utf-8")
    capsys.readouterr()
    assert main([*command, "--resume"]) == 2
    what = "sources[0].run" if changed == "a source" else "queries"
    assert f"was begun with another {what}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--sources", "[]"), "sources is empty"),
        (("--skip", "9", "--depth", "9"), "depth above skip"),
        (("--margin", "0.1"), "margins need a guide"),
        (("--guide", "minilm"), "a guide needs a margin or a relative_margin"),
        (("--similarity", "1.5"), "similarity must be above 0 and at most 1"),
        (("--split", "nowhere"), "no judgments for the split 'nowhere'"),
    ],
)
def test_what_cannot_be_mined_is_refused(
    flags: tuple[str, ...], says: str, tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mine", "--dataset", str(dataset), "--output", str(tmp_path / "out"), *flags]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.glob("out*"))


def test_a_run_over_other_queries_is_refused(tmp_path: Path, toy: Any) -> None:
    with pytest.raises(Exception, match="none of its 1 queries is judged in the split 'train'"):
        mined(tmp_path, toy[0], {"other": {"d1": 1.0}})


def test_documents_that_the_corpus_lacks_are_told(tmp_path: Path, toy: Any) -> None:
    with pytest.warns(UserWarning, match="1 documents of given are not in .* among them gone"):
        found, run = mined(tmp_path, toy[0], {"q": {"d1": 1.0, "gone": 2.0}})
    assert found.negatives == 1 and list(run["q"]) == ["d1"]
    with pytest.raises(DataError, match="given: none of the 1 documents that it ranks .* is in .*'gone'"):
        mined(tmp_path, toy[0], {"q": {"gone": 2.0}})


def test_the_nearest_of_some_texts() -> None:
    some = Shingled(["one two three four five", "six seven"])
    assert some.nearest("One two, three four five!") == 1 and some.nearest("six seven") == 1
    assert some.nearest("one two three four nine") == pytest.approx(1 / 3)
    assert Shingled([]).nearest("any") == 0


def test_the_nearest_of_texts_without_blanks() -> None:
    """Two that differ in the last word."""
    said = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗い所で"
    some = Shingled([said + "泣いていた"])
    assert some.nearest(said + "鳴いた") > 0.75
    assert some.nearest("親譲りの無鉄砲で小供の時から損ばかりしている") < 0.1

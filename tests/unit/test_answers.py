"""Queries without an answer: the threshold of an index, its error rates on other queries, and searches that use it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import encloze
from encloze import Retriever
from encloze.cli.main import main
from encloze.errors import CheckpointError, DataError
from encloze.evaluation.answers import AnswerReport, error_curve, threshold_at
from encloze.retrieval.answer_threshold import AnswerThreshold, answer_features
from encloze.retrieval.candidates import CandidatePool
from encloze.storage.manifest import write_manifest

NUM_DOCUMENTS = 60


def word(number: int) -> str:
    return "".join("abcdefghij"[int(digit)] for digit in f"{number:03}")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data set with two words of a document in each query, and a split of queries with one word of many."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{n}", "title": "", "text": f"common {word(n)} {word(200 + n)} {word(400 + n // 2)}"}
        for n in range(NUM_DOCUMENTS)
    ]
    queries = [{"_id": f"q{n}", "text": f"common {word(n)} {word(200 + n)}"} for n in range(40)]
    queries += [{"_id": f"u{n}", "text": f"common {word(400 + n)} {word(700 + n)}"} for n in range(30)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    header = "query-id\tcorpus-id\tscore\n"
    dev = "".join(f"q{n}\td{n}\t1\n" for n in range(40))
    (folder / "qrels" / "dev.tsv").write_text(header + dev, encoding="utf-8")
    unanswerable = "".join(f"u{n}\td{n}\t0\n" for n in range(30))
    (folder / "qrels" / "unanswerable.tsv").write_text(header + unanswerable, encoding="utf-8")
    return folder


@pytest.fixture
def index(data: Path, tmp_path: Path) -> Path:
    encloze.index(data, indexes=["bm25"], output=tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("settings", [{}, {"unanswerable_split": "unanswerable"}])
def test_a_search_says_whether_there_is_an_answer(index: Path, data: Path, settings: dict[str, str]) -> None:
    assert Retriever.load(index).search("common").answer is None
    report = encloze.threshold(index, data, false_answer_rate=0.1, **settings)
    assert report.answered == 40
    assert report.unanswered == (30 if settings else 40)
    assert report.missed_answers.mean == 0
    assert report.false_answers.mean <= 0.15
    assert report.areas["all"] == 1
    retriever = Retriever.load(index)
    known, unknown, empty = retriever.search([f"common {word(50)} {word(250)}", f"common {word(410)}", "nothing"], 3, 3)
    assert known.answer and known.answer.is_likely and known.answer.probability > report.threshold
    assert unknown and unknown.answer and not unknown.answer.is_likely
    assert "probably does not answer" in unknown._repr_html_()
    assert not empty and empty.answer and not empty.answer.is_likely


def test_changes_of_an_index_keep_its_threshold(index: Path, data: Path) -> None:
    encloze.threshold(index, data)
    retriever = Retriever.load(index)
    query = f"common {word(900)} {word(901)}"
    before = retriever.search(query).answer
    assert before and not before.is_likely
    retriever.add([{"id": "new", "text": query}])
    after = retriever.search(query).answer
    assert after and after.is_likely
    retriever.delete(["new"])
    retriever.compact()
    assert retriever.search(query).answer == before == Retriever.load(index).search(query).answer
    encloze.threshold(index, data, unanswerable_split="unanswerable")
    assert retriever.refresh()
    assert retriever.answer_threshold != AnswerThreshold(("bm25",), (0, 0), 0, 0)


def test_an_index_that_is_not_searched_has_no_say(data: Path, tmp_path: Path) -> None:
    indexes = [{"type": "bm25", "k1": 0.9}, {"type": "bm25", "k1": 1.2}]
    encloze.index(data, indexes=indexes, output=tmp_path / "both")
    encloze.threshold(tmp_path / "both", data)
    names = [view.name for view in Retriever.load(tmp_path / "both").views]
    assert len(names) == 2
    assert Retriever.load(tmp_path / "both").search("common").answer
    assert Retriever.load(tmp_path / "both", views=names[:1]).search("common").answer is None


def test_the_command_line_and_the_report(
    index: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "answers"
    assert main(["threshold", "--index", str(index), "--dataset", str(data), "--output", str(output)]) == 0
    assert "an answer is reported" in capsys.readouterr().out
    assert main(["search", "--index", str(index), f"common {word(410)}"]) == 0
    assert "The collection probably does not answer this query" in capsys.readouterr().out
    assert main(["search", "--index", str(index), f"common {word(7)} {word(207)}"]) == 0
    assert "probably" not in capsys.readouterr().out
    page = encloze.report([output], output=tmp_path / "page").page.read_text(encoding="utf-8")
    assert "queries without an answer, index" in page and "Rates of both errors" in page
    assert AnswerReport.load(output).tables() == AnswerReport.load(output).tables()
    assert len(AnswerReport.load(output).to_pandas()) >= 1


def test_too_few_queries_and_other_faults(index: Path, data: Path) -> None:
    few = data / "qrels" / "few.tsv"
    few.write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"there are 1 queries with an answer, and 20 are needed"):
        encloze.threshold(index, data, split="few")
    few.write_text("query-id\tcorpus-id\tscore\nu1\td1\t0\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"there are 1 queries without an answer"):
        encloze.threshold(index, data, unanswerable_split="few")
    with pytest.raises(DataError, match="40 of the 40 queries without an answer have relevant documents"):
        encloze.threshold(index, data, unanswerable_split="dev")
    with pytest.raises(DataError, match="no query of the split 'unanswerable' has a relevant document in the index"):
        encloze.threshold(index, data, split="unanswerable")
    assert Retriever.load(index).answer_threshold is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": "bm25"}, "names of indexes"),
        ({"weights": [1]}, "two weights for each view"),
        ({"threshold": None}, "must be numbers"),
        ({"intercept": float("nan")}, "must be numbers"),
        ({"more": 1}, "needs views, weights"),
    ],
)
def test_a_damaged_threshold_is_reported(index: Path, data: Path, change: dict[str, object], message: str) -> None:
    encloze.threshold(index, data)
    (file,) = index.glob("state-*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["answer_threshold"].update(change)
    file.write_text(json.dumps(content), encoding="utf-8")
    write_manifest(index)
    with pytest.raises(CheckpointError, match=message):
        Retriever.load(index)


def test_the_table_has_the_fewest_missed_answers_of_each_rate(index: Path, data: Path) -> None:
    report = encloze.threshold(index, data)
    assert report.areas["all"] == 1
    assert report.tables()[1].values("missed answers")[0] == 0


def test_features_are_the_best_score_and_its_lead() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [0.5, 0.9, 0.1]], np.float32)
    pool = CandidatePool(np.array([4, 7, 9]), scores, np.ones((2, 3)))
    one = CandidatePool(np.array([4]), scores[:, :1], np.ones((2, 1)))
    none = CandidatePool(np.array([], np.int64), scores[:, :0], np.ones((2, 0)))
    features = answer_features([pool, one, none], ["flat", "bm25"], ["bm25", "flat"])
    np.testing.assert_allclose(features, [[0.9, 0.6, 3, 1.5], [0.5, 0, 3, 0], [0, 0, 0, 0]], rtol=1e-6)
    excluded = answer_features([pool], ["flat", "bm25"], ["flat"], [np.array([4])])
    np.testing.assert_allclose(excluded, [[2, 1]])


RATES = st.floats(0, 0.99)
PROBABILITIES = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]), min_size=1, max_size=30)


@given(PROBABILITIES, PROBABILITIES, RATES)
def test_the_threshold_keeps_the_rate_and_rejects_no_more(some: list[float], others: list[float], rate: float) -> None:
    answered, unanswered = np.array(some), np.array(others)
    threshold = threshold_at(answered, unanswered, rate)
    assert (unanswered >= threshold).mean() <= rate
    highest = unanswered[unanswered < threshold].max()
    assert (unanswered >= highest).mean() > rate
    assert not ((answered > highest) & (answered < threshold)).any()


@given(PROBABILITIES, PROBABILITIES)
def test_the_curve_goes_from_no_answers_to_all(answered: list[float], unanswered: list[float]) -> None:
    curve = error_curve(np.array(answered), np.array(unanswered), 7)
    assert curve[0][1:] == (0, 1)
    assert curve[-1][1:] == (1, 0)
    assert all(
        a.false_answers <= b.false_answers and a.missed_answers >= b.missed_answers
        for a, b in itertools.pairwise(curve)
    )

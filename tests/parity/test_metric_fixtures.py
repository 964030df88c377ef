"""Measures agree with trec_eval's own output on real runs, to four decimals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from encloze.data.formats.trec import Trec
from encloze.data.lines import Faults
from encloze.data.records import Judgments, Run
from encloze.data.runs import read_run
from encloze.evaluation.measures import canonical, measure

NAMES = ("cranfield-dev", "cranfield-dev-graded", "cranfield-dev-ties", "heq-dev", "insuranceqa-dev", "vaswani-dev")
CUTS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)


def ours(theirs: str) -> str:
    """Our name of a measure that trec_eval calls ``theirs``."""
    direct = {"Rprec": "Rprec", "bpref": "Bpref", "ndcg": "nDCG", "recip_rank_cut_10": "RR@10"}
    if theirs in direct:
        return direct[theirs]
    if theirs.startswith("map_cut_"):
        return "AP@" + theirs.rpartition("_")[2]
    return canonical(theirs)


def judgments_of(file: Path) -> Judgments:
    faults, grades = Faults(), dict[str, dict[str, int]]()
    for query, document, grade in Trec(file).judgments("test", faults):
        grades.setdefault(query, {})[document] = grade
    faults.stop()
    return grades


@pytest.mark.parametrize("name", NAMES)
def test_measures_of_a_bm25_run_agree_with_trec_eval(shared: Path, name: str) -> None:
    folder = shared / "metric-fixtures"
    expected = json.loads((folder / f"{name}.expected.json").read_text(encoding="utf-8"))
    judgments = judgments_of(folder / f"{name}.qrels.gz")
    names = {theirs: ours(theirs) for theirs in expected["mean"]}
    values = measure(read_run(folder / f"{name}.run.gz"), judgments, list(names.values()))
    assert {"nDCG@10", "RR@10", "R@100", "AP", "P@5", "Success@1"} <= values.keys()
    assert judgments.keys() == expected["per_query"].keys()
    for theirs, mine in names.items():
        per_query = [expected["per_query"][query][theirs] for query in judgments]
        np.testing.assert_allclose(values[mine], per_query, atol=5e-5, err_msg=theirs)
        assert values[mine].mean() == pytest.approx(expected["mean"][theirs], abs=5e-5), theirs


def test_ties_make_a_difference_in_the_run_that_has_them(shared: Path) -> None:
    folder = shared / "metric-fixtures"
    run = read_run(folder / "cranfield-dev-ties.run.gz")
    judgments = judgments_of(folder / "cranfield-dev-ties.qrels.gz")
    tied = measure(run, judgments, ["nDCG@10"])["nDCG@10"]
    ascending = {
        query: {document: -float(rank) for rank, document in enumerate(sorted(scores, key=lambda d: (-scores[d], d)))}
        for query, scores in run.items()
    }
    assert np.abs(tied - measure(ascending, judgments, ["nDCG@10"])["nDCG@10"]).max() > 0.01


def trec_evals(file: Path) -> dict[str, dict[str, str]]:
    """What trec_eval printed: the values by query (``all`` for the mean) and measure."""
    found: dict[str, dict[str, str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, query, value = line.split("\t", 2)
        found.setdefault(query, {})[name.strip()] = value
    return found


def compared(values: dict[str, np.ndarray], queries: Sequence[str], printed: dict[str, dict[str, str]]) -> int:
    """Compare with all that was printed of the measures; how many numbers were compared."""
    wanted = {f"recall_{cut}": f"R@{cut}" for cut in CUTS} | {f"P_{cut}": f"P@{cut}" for cut in CUTS}
    wanted |= {f"ndcg_cut_{cut}": f"nDCG@{cut}" for cut in CUTS} | {f"map_cut_{cut}": f"AP@{cut}" for cut in CUTS}
    wanted |= {f"success_{cut}": f"Success@{cut}" for cut in (1, 5, 10)}
    wanted |= {"map": "AP", "recip_rank": "RR", "ndcg": "nDCG", "Rprec": "Rprec", "bpref": "Bpref"}
    count = 0
    for query, figures in printed.items():
        for theirs, value in figures.items():
            if theirs in wanted:
                mine = values[wanted[theirs]]
                found = mine.mean() if query == "all" else mine[list(queries).index(query)]
                assert found == pytest.approx(float(value), abs=5.1e-5), f"{theirs} of {query}"
                count += 1
    return count


EVERYTHING = [f"{kind}@{cut}" for kind in ("R", "P", "nDCG", "AP") for cut in CUTS]
EVERYTHING += ["Success@1", "Success@5", "Success@10", "AP", "RR", "nDCG", "Rprec", "Bpref"]


def of_the_suite(folder: Path, run: str) -> tuple[Run, Judgments]:
    return read_run(folder / run), judgments_of(folder / "qrels.test")


@pytest.mark.parametrize(
    ("printed", "run", "least"),
    [
        ("out.test", "results.test", 12),
        ("out.test.a", "results.test", 40),
        ("out.test.aq", "results.test", 160),
        ("out.test.aqc", "results.trunc", 160),  # one query is not in the run: -c counts it as 0, as we do
    ],
)
def test_measures_agree_with_trec_evals_own_tests(shared: Path, printed: str, run: str, least: int) -> None:
    folder = shared / "metric-fixtures" / "trec_eval"
    ranking, judgments = of_the_suite(folder, run)
    values = measure(ranking, judgments, EVERYTHING)
    assert compared(values, list(judgments), trec_evals(folder / printed)) >= least


def test_measures_of_a_run_cut_at_100_agree_with_trec_evals_own_test(shared: Path) -> None:
    folder = shared / "metric-fixtures" / "trec_eval"
    ranking, judgments = of_the_suite(folder, "results.trunc")
    cut = {
        query: dict(sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)[:100])
        for query, scores in ranking.items()
    }
    values = measure(cut, judgments, EVERYTHING)
    assert compared(values, list(judgments), trec_evals(folder / "out.test.aqcM")) >= 160


def test_a_higher_grade_to_count_as_relevant_agrees_with_trec_evals_own_test(shared: Path) -> None:
    folder = shared / "metric-fixtures" / "trec_eval"  # -l2: only grades of 2 and more are relevant
    judgments = judgments_of(folder / "qrels.rel_level")
    names = ["AP(rel=2)", "RR(rel=2)", *(f"{kind}(rel=2)@{cut}" for kind in ("P", "R") for cut in (5, 10, 100))]
    values = measure(read_run(folder / "results.test"), judgments, names)
    same = {"AP(rel=2)": "map", "RR(rel=2)": "recip_rank"}
    same |= {f"P(rel=2)@{cut}": f"P_{cut}" for cut in (5, 10, 100)}
    same |= {f"R(rel=2)@{cut}": f"recall_{cut}" for cut in (5, 10, 100)}
    printed = trec_evals(folder / "out.test.aql")
    for mine, theirs in same.items():
        for number, query in enumerate(judgments):
            assert values[mine][number] == pytest.approx(float(printed[query][theirs]), abs=5.1e-5), theirs
        assert values[mine].mean() == pytest.approx(float(printed["all"][theirs]), abs=5.1e-5), theirs

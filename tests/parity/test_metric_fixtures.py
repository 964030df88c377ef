"""Measures agree with the output of trec_eval on real runs, to four decimals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from encloze.data.formats.trec import Trec
from encloze.data.lines import ErrorCollector
from encloze.data.records import Judgments, Run
from encloze.data.runs import read_run
from encloze.evaluation.measures import canonical_name, compute_measures

NAMES = ("cranfield-dev", "cranfield-dev-graded", "cranfield-dev-ties", "heq-dev", "insuranceqa-dev", "vaswani-dev")
CUTS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)


def our_name(trec_eval_name: str) -> str:
    """Return our name of a measure of trec_eval."""
    direct = {"Rprec": "Rprec", "bpref": "Bpref", "ndcg": "nDCG", "recip_rank_cut_10": "RR@10"}
    if trec_eval_name in direct:
        return direct[trec_eval_name]
    if trec_eval_name.startswith("map_cut_"):
        return "AP@" + trec_eval_name.rpartition("_")[2]
    return canonical_name(trec_eval_name)


def judgments_of(file: Path) -> Judgments:
    faults, grades = ErrorCollector(), dict[str, dict[str, int]]()
    for query, document, grade in Trec(file).judgments("test", faults):
        grades.setdefault(query, {})[document] = grade
    faults.raise_if_any()
    return grades


@pytest.mark.parametrize("name", NAMES)
def test_measures_of_a_bm25_run_agree_with_trec_eval(shared: Path, name: str) -> None:
    folder = shared / "metric-fixtures"
    expected = json.loads((folder / f"{name}.expected.json").read_text(encoding="utf-8"))
    judgments = judgments_of(folder / f"{name}.qrels.gz")
    names = {name: our_name(name) for name in expected["mean"]}
    values = compute_measures(read_run(folder / f"{name}.run.gz"), judgments, list(names.values()))
    assert {"nDCG@10", "RR@10", "R@100", "AP", "P@5", "Success@1"} <= values.keys()
    assert judgments.keys() == expected["per_query"].keys()
    for trec_eval_name, name_here in names.items():
        per_query = [expected["per_query"][query][trec_eval_name] for query in judgments]
        np.testing.assert_allclose(values[name_here], per_query, atol=5e-5, err_msg=trec_eval_name)
        assert values[name_here].mean() == pytest.approx(expected["mean"][trec_eval_name], abs=5e-5), trec_eval_name


def test_the_order_of_ties_changes_the_measures_of_a_run_with_ties(shared: Path) -> None:
    folder = shared / "metric-fixtures"
    run = read_run(folder / "cranfield-dev-ties.run.gz")
    judgments = judgments_of(folder / "cranfield-dev-ties.qrels.gz")
    tied = compute_measures(run, judgments, ["nDCG@10"])["nDCG@10"]
    ascending = {
        query: {document: -float(rank) for rank, document in enumerate(sorted(scores, key=lambda d: (-scores[d], d)))}
        for query, scores in run.items()
    }
    assert np.abs(tied - compute_measures(ascending, judgments, ["nDCG@10"])["nDCG@10"]).max() > 0.01


def read_output(file: Path) -> dict[str, dict[str, str]]:
    """Return the values in the output of trec_eval by query (``all`` for the mean) and measure."""
    values: dict[str, dict[str, str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, query, value = line.split("\t", 2)
        values.setdefault(query, {})[name.strip()] = value
    return values


def assert_equal_to_output(
    values: dict[str, np.ndarray], queries: Sequence[str], output: dict[str, dict[str, str]]
) -> int:
    """Compare all values in the output with those computed here, and return the number of compared values."""
    names = {f"recall_{cut}": f"R@{cut}" for cut in CUTS} | {f"P_{cut}": f"P@{cut}" for cut in CUTS}
    names |= {f"ndcg_cut_{cut}": f"nDCG@{cut}" for cut in CUTS} | {f"map_cut_{cut}": f"AP@{cut}" for cut in CUTS}
    names |= {f"success_{cut}": f"Success@{cut}" for cut in (1, 5, 10)}
    names |= {"map": "AP", "recip_rank": "RR", "ndcg": "nDCG", "Rprec": "Rprec", "bpref": "Bpref"}
    count = 0
    for query, expected in output.items():
        for name, value in expected.items():
            if name in names:
                computed = values[names[name]]
                result = computed.mean() if query == "all" else computed[list(queries).index(query)]
                assert result == pytest.approx(float(value), abs=5.1e-5), f"{name} of {query}"
                count += 1
    return count


ALL_MEASURES = [f"{kind}@{cut}" for kind in ("R", "P", "nDCG", "AP") for cut in CUTS]
ALL_MEASURES += ["Success@1", "Success@5", "Success@10", "AP", "RR", "nDCG", "Rprec", "Bpref"]


def read_run_and_judgments(folder: Path, run: str) -> tuple[Run, Judgments]:
    return read_run(folder / run), judgments_of(folder / "qrels.test")


@pytest.mark.parametrize(
    ("output", "run", "min_compared"),
    [
        ("out.test", "results.test", 12),
        ("out.test.a", "results.test", 40),
        ("out.test.aq", "results.test", 160),
        ("out.test.aqc", "results.trunc", 160),  # one query is missing in the run; -c counts it as 0
    ],
)
def test_measures_agree_with_the_tests_of_trec_eval(shared: Path, output: str, run: str, min_compared: int) -> None:
    folder = shared / "metric-fixtures" / "trec_eval"
    ranking, judgments = read_run_and_judgments(folder, run)
    values = compute_measures(ranking, judgments, ALL_MEASURES)
    assert assert_equal_to_output(values, list(judgments), read_output(folder / output)) >= min_compared


def test_measures_of_a_run_truncated_at_100_agree_with_a_test_of_trec_eval(shared: Path) -> None:
    folder = shared / "metric-fixtures" / "trec_eval"
    ranking, judgments = read_run_and_judgments(folder, "results.trunc")
    cut = {
        query: dict(sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)[:100])
        for query, scores in ranking.items()
    }
    values = compute_measures(cut, judgments, ALL_MEASURES)
    assert assert_equal_to_output(values, list(judgments), read_output(folder / "out.test.aqcM")) >= 160


def test_a_higher_relevance_level_agrees_with_a_test_of_trec_eval(shared: Path) -> None:
    folder = shared / "metric-fixtures" / "trec_eval"  # -l2: only grades of 2 and higher are relevant
    judgments = judgments_of(folder / "qrels.rel_level")
    names = ["AP(rel=2)", "RR(rel=2)", *(f"{kind}(rel=2)@{cut}" for kind in ("P", "R") for cut in (5, 10, 100))]
    values = compute_measures(read_run(folder / "results.test"), judgments, names)
    trec_eval_names = {"AP(rel=2)": "map", "RR(rel=2)": "recip_rank"}
    trec_eval_names |= {f"P(rel=2)@{cut}": f"P_{cut}" for cut in (5, 10, 100)}
    trec_eval_names |= {f"R(rel=2)@{cut}": f"recall_{cut}" for cut in (5, 10, 100)}
    output = read_output(folder / "out.test.aql")
    for name, trec_eval_name in trec_eval_names.items():
        for number, query in enumerate(judgments):
            expected = float(output[query][trec_eval_name])
            assert values[name][number] == pytest.approx(expected, abs=5.1e-5), trec_eval_name
        assert values[name].mean() == pytest.approx(float(output["all"][trec_eval_name]), abs=5.1e-5), trec_eval_name

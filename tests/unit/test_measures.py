"""Measures have one canonical name each, and agree with trec_eval, also for ties and missing queries."""

from __future__ import annotations

import time

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data.qrels import MAX_GRADE
from encloze.data.records import Judgments, Run
from encloze.data.runs import top_documents
from encloze.errors import DataError
from encloze.evaluation.measures import DEFAULT_MEASURES, canonical_name, compute_measures

ALIASES = {
    "nDCG@10": "nDCG@10",
    "ndcg@10": "nDCG@10",
    "ndcg_cut_10": "nDCG@10",
    "ndcg_cut@10": "nDCG@10",
    "NDCG@5": "nDCG@5",
    " nDCG@10 ": "nDCG@10",
    "RR@10": "RR@10",
    "mrr@10": "RR@10",
    "MRR@10": "RR@10",
    "recip_rank@10": "RR@10",
    "recip_rank": "RR",
    "mrr": "RR",
    "R@100": "R@100",
    "recall@100": "R@100",
    "recall_100": "R@100",
    "map": "AP",
    "AP@100": "AP@100",
    "P_5": "P@5",
    "precision@5": "P@5",
    "success@1": "Success@1",
    "Success@5": "Success@5",
    "judged@10": "Judged@10",
    "AP(rel=2)": "AP(rel=2)",
    "P(rel=2)@5": "P(rel=2)@5",
}


def test_aliases_have_one_canonical_name() -> None:
    for alias, name in ALIASES.items():
        assert canonical_name(alias) == canonical_name(name) == name


def test_an_unknown_measure_raises_with_examples() -> None:
    unknown = ("", "ndgc@10", "nDCG@ten", "nDCG@", "10", "nDCG@10; import os", "RR@-1")
    large = (f"nDCG@{'9' * 20}", f"nDCG@{'9' * 5000}", f"P(rel={2**31})@5", "AP(rel='a')")
    for name in (*unknown, *large, "nDCG@0", "R@00", "nDCG@1.5", "P", "R", "AP(rel=0)"):
        with pytest.raises(ValueError, match=r"unknown measure .* such as nDCG@10, RR@10"):
            canonical_name(name)


def test_values_are_in_the_order_of_the_judgments_under_canonical_names() -> None:
    judgments = {"b": {"x": 1}, "a": {"x": 1, "y": 1}, "c": {"z": 1}}
    run = {"a": {"x": 2.0, "w": 1.0}, "b": {"w": 2.0, "x": 1.0}, "c": {"w": 1.0}}
    values = compute_measures(run, judgments, ["mrr@10", "recall@100"])
    assert list(values) == ["RR@10", "R@100"]
    assert values["RR@10"].tolist() == [0.5, 1, 0] and values["R@100"].tolist() == [1, 0.5, 0]


def test_the_default_measures_of_a_small_example() -> None:
    judgments = {"q": {"a": 1, "b": 2, "c": 0, "d": 1}}
    run = {"q": {"c": 4.0, "b": 3.0, "e": 2.0, "a": 1.0}}
    values = {name: float(of_query[0]) for name, of_query in compute_measures(run, judgments).items()}
    gain = 2 / np.log2(3) + 1 / np.log2(5)
    ideal = 2 / np.log2(2) + 1 / np.log2(3) + 1 / np.log2(4)
    assert values == pytest.approx(
        {"nDCG@10": gain / ideal, "RR@10": 0.5, "R@100": 2 / 3, "AP": (1 / 2 + 2 / 4) / 3}, abs=1e-9
    )
    assert tuple(values) == DEFAULT_MEASURES


def test_missing_queries_score_0_and_unjudged_queries_are_excluded() -> None:
    values = compute_measures({"a": {"x": 1.0}, "new": {"x": 1.0}}, {"a": {"x": 1}, "b": {"x": 1}}, ["nDCG@10"])
    assert values["nDCG@10"].tolist() == [1, 0]


def test_a_query_with_an_empty_ranking_scores_0() -> None:
    values = compute_measures({"a": {"x": 1.0}, "b": {}}, {"a": {"x": 1}, "b": {"x": 1}})
    assert all(of_queries.tolist() == [1, 0] for of_queries in values.values())


def test_a_query_without_a_relevant_document_scores_0() -> None:
    values = compute_measures({"a": {"x": 1.0}, "b": {"y": 1.0}}, {"a": {"x": 1}, "b": {"y": 0}})
    assert all(of_queries.tolist() == [1, 0] for of_queries in values.values())


@pytest.mark.parametrize("name", ["nDCG@1", "RR@1", "P@1", "R@1", "Success@1", "AP@1"])
def test_equal_scores_are_ordered_by_descending_document_id(name: str) -> None:
    run = {"q": {"doc1": 1.0, "doc2": 1.0}}
    assert compute_measures(run, {"q": {"doc2": 1}}, [name])[canonical_name(name)][0] == 1
    assert compute_measures(run, {"q": {"doc1": 1}}, [name])[canonical_name(name)][0] == 0


def test_scores_are_compared_in_float32() -> None:
    run, judgments = {"q": {"doc1": 1 + 1e-12, "doc2": 1.0}}, {"q": {"doc1": 1}}
    expected = pytrec_eval.RelevanceEvaluator(judgments, {"recip_rank"}).evaluate(run)["q"]["recip_rank"]
    values = compute_measures(run, judgments, ["RR", "RR@10", "AP"])
    assert [of_query[0] for of_query in values.values()] == [expected] * 3 == [0.5] * 3


@pytest.mark.parametrize("name", ["ERR@10", 'nDCG(dcg="exp-log2")@10'])
def test_measures_of_other_providers_accept_any_ids(name: str) -> None:
    run, judgments = (
        {"q a": {"x": 2.0, "y": 1.0}, "q-b": {"y": 1.0}},
        {"q a": {"x": 1}, "q-b": {"y": 2}, "gone": {"x": 1}},
    )
    numbered = {str(number): judgments[query] for number, query in enumerate(judgments)}
    plain = {"0": run["q a"], "1": run["q-b"]}
    assert compute_measures(run, judgments, [name])[canonical_name(name)].tolist() == (
        compute_measures(plain, numbered, [name])[canonical_name(name)].tolist()
    )
    assert compute_measures(run, judgments, [name])[canonical_name(name)][2] == 0


def test_a_truncated_ranking_keeps_the_order_of_trec_eval() -> None:
    scores = {"doc1": 1 + 1e-12, "doc2": 1.0, "doc3": 0.5}
    assert top_documents(scores, 1) == {"doc2": 1.0} and list(top_documents(scores, 3)) == ["doc2", "doc1", "doc3"]
    judgments, cut = {"q": {"doc2": 1}}, {"q": top_documents(scores, 1)}
    assert (
        compute_measures(cut, judgments, ["RR@1"])
        == compute_measures({"q": scores}, judgments, ["RR@1"])
        == {"RR@1": [1.0]}
    )


def test_a_run_without_judged_queries_raises() -> None:
    with pytest.raises(DataError, match=r"no query in common \(first in the run: 'q1', first judged: '1'\)"):
        compute_measures({"q1": {"x": 1.0}}, {"1": {"x": 1}})
    with pytest.raises(DataError, match=r"first in the run: None, first judged: '1'"):
        compute_measures({}, {"1": {"x": 1}})


documents = st.sampled_from([f"d{number}" for number in range(12)])
queries = [f"q{number}" for number in range(4)]
runs = st.dictionaries(
    st.sampled_from(queries), st.dictionaries(documents, st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1), min_size=1
)
judged = st.fixed_dictionaries(
    {query: st.dictionaries(documents, st.integers(0, 3), min_size=1, max_size=6) for query in queries}
)
TREC_EVAL_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG@3": "ndcg_cut_3",
    "R@5": "recall_5",
    "R@100": "recall_100",
    "P@5": "P_5",
    "AP": "map",
    "AP@5": "map_cut_5",
    "RR": "recip_rank",
    "Success@3": "success_3",
}


@settings(max_examples=60, deadline=None)
@given(run=runs, judgments=judged)
def test_measures_agree_with_trec_eval_on_rankings_with_ties(run: Run, judgments: Judgments) -> None:
    reference = pytrec_eval.RelevanceEvaluator(
        judgments, {"ndcg_cut.3,10", "recall.5,100", "P.5", "map", "map_cut.5", "recip_rank", "success.3"}
    ).evaluate(run)
    values = compute_measures(run, judgments, list(TREC_EVAL_NAMES))
    for name, reference_name in TREC_EVAL_NAMES.items():
        expected = [reference[query][reference_name] if query in run else 0.0 for query in judgments]
        np.testing.assert_allclose(values[name], expected, atol=1e-9, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(run=runs, judgments=judged, depth=st.integers(1, 12))
def test_reciprocal_rank_at_a_cutoff_is_that_of_the_truncated_run(run: Run, judgments: Judgments, depth: int) -> None:
    cut = {
        query: dict(sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)[:depth])
        for query, scores in run.items()
    }
    reference = pytrec_eval.RelevanceEvaluator(judgments, {"recip_rank"}).evaluate(cut)
    expected = [reference[query]["recip_rank"] if query in run else 0.0 for query in judgments]
    np.testing.assert_allclose(compute_measures(run, judgments, [f"RR@{depth}"])[f"RR@{depth}"], expected, atol=1e-9)


def test_a_query_that_finds_nothing_scores_nothing_by_any_measure() -> None:
    judgments = {"a": {"x": 1}, "b": {"y": 1}}
    values = compute_measures({"a": {"x": 1.0}, "b": {}}, judgments, ["nDCG@10", "Judged@10", "RR@10"])
    assert {name: of_name.tolist() for name, of_name in values.items()} == {
        "nDCG@10": [1, 0],
        "Judged@10": [1, 0],
        "RR@10": [1, 0],
    }


@pytest.mark.parametrize("grades", [{"a": -1}, {"a": -2, "b": -2}, {"a": -3, "c": -1}, {"a": -(10**6)}])
def test_queries_with_negative_grades_only_score_zero_and_count_as_judged(grades: dict[str, int]) -> None:
    names = ["nDCG@10", "RR@10", "R@100", "AP", "AP(rel=2)", "Bpref", "infAP", "Rprec", "Judged@2"]
    judgments = {"q": grades, "r": {"a": 1, "b": -2}}
    for _ in range(20):  # the heap of trec_eval was damaged, which crashed the process some calls later
        values = compute_measures({"q": {"a": 2.0, "x": 1.0}, "r": {"a": 1.0, "b": 0.5}}, judgments, names)
    assert {name: value.tolist() for name, value in values.items()} == {
        **{name: [0.0, 1.0] for name in names},
        "AP(rel=2)": [0.0, 0.0],
        "Judged@2": [0.5, 1.0],
    }


def test_a_grade_that_would_fill_the_memory_is_an_error() -> None:
    with pytest.raises(DataError, match="query 'q' has the grade 2147483647, above the maximum of 10,000"):
        compute_measures({"q": {"a": 1.0}}, {"q": {"a": 2**31 - 1}})


def test_a_grade_that_gdeval_refuses_is_an_error() -> None:
    with pytest.raises(DataError, match=r"ERR@10 cannot be computed: gdeval, .* accepts grades up to 4"):
        compute_measures({"q": {"a": 1.0}}, {"q": {"a": 5}}, ["ERR@10"])


def test_the_largest_grade_is_evaluated_in_time() -> None:
    start = time.process_time()
    values = compute_measures({"q": {"a": 1.0}}, {"q": {"a": MAX_GRADE}}, ["nDCG", "nDCG@10", "Bpref", "infAP"])
    assert values["nDCG"].tolist() == [1.0] and time.process_time() - start < 5

"""A report has the measures of each system with intervals, and its difference from the first system."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from encloze.data.records import Judgments, Run
from encloze.data.runs import read_run
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import compute_measures
from encloze.evaluation.report import Report, evaluate_runs
from encloze.evaluation.results import SystemResult
from encloze.evaluation.significance import bootstrap, holm, randomization_test
from encloze.storage.file_names import file_name

NAMES = ("nDCG@10", "RR@10")


def ranking(place: int) -> dict[str, float]:
    """Ten documents, ``right`` at a place from 0."""
    ids = [f"wrong{number}" for number in range(9)]
    ids.insert(place, "right")
    return {id_: float(10 - number) for number, id_ in enumerate(ids)}


JUDGMENTS: Judgments = {f"q{number:02}": {"right": 1} for number in range(30)}
POOR: Run = {query: ranking(number % 5 + 2) for number, query in enumerate(JUDGMENTS)}
GOOD: Run = {query: ranking(number % 3) for number, query in enumerate(JUDGMENTS)}
ALIKE: Run = {query: ranking((number + 1) % 5 + 2) for number, query in enumerate(JUDGMENTS)}


@pytest.fixture(scope="module")
def report() -> Report:
    runs = [
        SystemResult("poor", POOR, 1.25),
        SystemResult("good/v2", GOOD, note="read from a file"),
        SystemResult("alike", ALIKE),
    ]
    return evaluate_runs("toys", "test", JUDGMENTS, runs, ["ndcg@10", "mrr@10", "nDCG@10"])


def test_measures_are_named_once_and_in_order(report: Report) -> None:
    assert report.measures == NAMES and report.queries == tuple(JUDGMENTS)
    assert [system.name for system in report.systems] == ["poor", "good/v2", "alike"]


def test_the_values_are_the_measures_of_the_runs(report: Report) -> None:
    for system, run in zip(report.systems, (POOR, GOOD, ALIKE), strict=True):
        for name, values in compute_measures(run, JUDGMENTS, NAMES).items():
            assert (system.values[name] == values).all()
    assert report.systems[1].values["RR@10"][:4].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1])


def test_every_system_is_compared_with_the_first_by_the_first_measure(report: Report) -> None:
    values = [system.values["nDCG@10"] for system in report.systems]
    corrected = holm([randomization_test(other, values[0]) for other in values[1:]])
    assert [other.system for other in report.differences] == ["good/v2", "alike"]
    for comparison, other, p_value in zip(report.differences, values[1:], corrected, strict=True):
        assert comparison.difference == estimate([other - values[0]]).interval() and comparison.p_value == p_value
    good, alike = report.differences
    assert good.difference.low > 0 and good.p_value < 0.01
    assert alike.difference.mean == pytest.approx(0, abs=1e-9) and alike.p_value > 0.5


def test_one_system_alone_is_not_compared() -> None:
    report = evaluate_runs("toys", "test", JUDGMENTS, [SystemResult("poor", POOR)])
    assert report.differences == ()
    assert report.measures == ("nDCG@10", "RR@10", "R@100", "AP")


def test_the_seed_draws_the_tests() -> None:
    runs = [SystemResult("poor", POOR), SystemResult("alike", ALIKE)]
    first, reloaded, other = (evaluate_runs("toys", "test", JUDGMENTS, runs, NAMES, seed=seed) for seed in (1, 1, 2))
    assert first.means == reloaded.means != other.means and first.differences == reloaded.differences


def test_the_table_has_means_intervals_differences_and_times(report: Report) -> None:
    table = report.table()
    assert table.names == ("system", "nDCG@10", "RR@10", "nDCG@10 - poor", "p (Holm)", "ms/query (batched)")
    assert table.values("system") == ["poor", "good/v2", "alike"]
    interval = bootstrap(compute_measures(GOOD, JUDGMENTS, NAMES)["RR@10"])
    assert table.values("RR@10")[1] == interval and interval.mean == pytest.approx(0.6111, abs=1e-4)
    assert table.values("nDCG@10 - poor") == [None, *(one.difference for one in report.differences)]
    assert table.values("p (Holm)") == [None, *(one.p_value for one in report.differences)]
    assert table.values("ms/query (batched)") == [1.25, None, None]
    assert report.tables() == [table]


def test_the_table_has_no_column_of_times_if_none_was_measured() -> None:
    results = [SystemResult("poor", POOR), SystemResult("good", GOOD)]
    assert evaluate_runs("toys", "test", JUDGMENTS, results, NAMES).table().names[-1] == "p (Holm)"


def test_a_report_is_a_data_frame_and_a_table_in_notebooks(report: Report) -> None:
    pytest.importorskip("pandas")
    frame = report.to_pandas().set_index("system")
    for system in report.systems:
        mean = report.means[system.name]["nDCG@10"]
        assert frame.loc[system.name, ["nDCG@10", "nDCG@10 low", "nDCG@10 high"]].tolist() == list(mean)
    assert frame["ms/query (batched)"].isna().tolist() == [False, True, True]
    page = report._repr_html_()
    assert "<table>" in page and "good/v2" in page and "<li>good/v2: read from a file</li>" in page


def test_the_markdown_is_a_table_with_its_notes(report: Report) -> None:
    lines = report.to_markdown().splitlines()
    assert lines[0] == "toys, test: 30 queries, means with 95 % bootstrap intervals."
    assert lines[2].startswith("| system | nDCG@10 | RR@10 |") and set(lines[3]) == set("| -:")
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| poor", "| good/v2", "| alike"]
    assert all(line.count("|") == lines[2].count("|") for line in lines[3:7])
    assert lines[-1] == "- good/v2: read from a file"


def test_a_saved_report_has_the_values_of_each_query(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    head, *rows = [line.split("\t") for line in (tmp_path / "per_query.tsv").read_text(encoding="utf-8").splitlines()]
    assert head == ["query", *(f"{system} {name}" for system in ("poor", "good/v2", "alike") for name in NAMES)]
    assert [row[0] for row in rows] == list(JUDGMENTS)
    expected = [system.values[name] for system in report.systems for name in NAMES]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), np.stack(expected, 1), atol=5e-7)


def test_saved_runs_read_back_to_the_same_measures(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    assert sorted(file.name for file in (tmp_path / "runs").iterdir()) == ["alike.trec", "good-v2.trec", "poor.trec"]
    for system in report.systems:
        read = read_run(tmp_path / "runs" / f"{file_name(system.name)}.trec")
        assert read == system.run
        for name, values in compute_measures(read, JUDGMENTS, NAMES).items():
            assert (values == system.values[name]).all()


def test_one_query_has_no_interval_and_its_report_is_json_that_reads_back(tmp_path: Path) -> None:
    one = {query: JUDGMENTS[query] for query in ["q00"]}
    alone = evaluate_runs("toys", "test", one, [SystemResult("poor", POOR), SystemResult("good", GOOD)], NAMES)
    alone.save(tmp_path)
    message = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert message["systems"][1]["against_baseline"]["low"] is None
    assert Report.load(tmp_path).differences == alone.differences


def test_saved_figures_are_those_of_the_report(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == report.to_markdown()
    figures = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (figures["dataset"], figures["split"], figures["queries"]) == ("toys", "test", 30)
    poor, good, _ = figures["systems"]
    assert poor["milliseconds_per_query"] == 1.25 and "against_baseline" not in poor
    assert good["note"] == "read from a file"
    assert good["measures"]["RR@10"] == bootstrap(report.systems[1].values["RR@10"])._asdict()
    assert good["against_baseline"] == {
        **report.differences[0].difference._asdict(),
        "p_holm": report.differences[0].p_value,
    }


def test_systems_whose_names_make_one_file_name_both_keep_their_runs(tmp_path: Path) -> None:
    evaluate_runs("toys", "test", JUDGMENTS, [SystemResult("a/b", POOR), SystemResult("a b", GOOD)], NAMES).save(
        tmp_path
    )
    read = [read_run(file) for file in sorted((tmp_path / "runs").iterdir())]
    assert len(read) == 2 and POOR in read and GOOD in read


def test_a_report_of_a_system_without_results_is_loaded(tmp_path: Path) -> None:
    judgments: Judgments = {"q1": {"a": 1}, "q2": {"b": 1}}
    runs = [SystemResult("some", {"q1": {"a": 1.0}, "q2": {"a": 1.0}}), SystemResult("none", {"q1": {}, "q2": {}})]
    report = evaluate_runs("here", "test", judgments, runs)
    report.save(tmp_path)
    reloaded = Report.load(tmp_path)
    assert reloaded.systems[1].run == {} and reloaded.systems[1].values["nDCG@10"].sum() == 0

"""A comparison tests every system against the first on each data set and their mean, with corrected p-values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import toys
from encloze.cli.main import main
from encloze.commands.compare import Compare
from encloze.commands.evaluate import Evaluate
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.runs import write_run
from encloze.errors import EnclozeError, RecipeError
from encloze.evaluation.comparison import ComparedSystem, ComparisonTable, short_names
from encloze.evaluation.contrasts import Contrast
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import Report
from encloze.evaluation.results import SystemResult
from encloze.evaluation.significance import bootstrap, holm, randomization_test
from encloze.intervals import Interval
from encloze.systems.bm25 import Bm25
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.run import RunFile
from encloze.systems.seeds import Seeds

SIZES = {"small": 30, "large": 120}


def report_of(name: str, count: int) -> Report:
    """Report of a baseline, a better system, one that differs in a single query, and a far worse one."""
    draw = np.random.default_rng(count)
    base = draw.random(count) * 0.8
    twin = base.copy()
    twin[0] += 0.001
    values = {"base": base, "better": base + draw.random(count) * 0.3, "twin": twin, "worse": base * 0.3}
    systems = tuple(
        SystemResult(
            system,
            {},
            milliseconds_per_query=2.0 * number,
            index_bytes=2**20,
            values={"nDCG@10": of_queries, "RR@10": of_queries / 2},
        )
        for number, (system, of_queries) in enumerate(values.items())
    )
    return Report(name, "test", ("nDCG@10", "RR@10"), tuple(f"q{n}" for n in range(count)), systems)


def table_of(*systems: ComparedSystem, **settings: float) -> ComparisonTable:
    chosen = systems or tuple(ComparedSystem(name, (name,)) for name in ("base", "better", "twin", "worse"))
    reports = tuple(report_of(name, count) for name, count in SIZES.items())
    return ComparisonTable(reports, chosen, tuple(SIZES), **settings)


@pytest.fixture(scope="module")
def table() -> ComparisonTable:
    return table_of()


def values(report: Report, system: str) -> np.ndarray:
    return next(found.values["nDCG@10"] for found in report.systems if found.name == system)


def test_every_other_system_is_compared_with_the_first_on_each_data_set_and_the_mean(table: ComparisonTable) -> None:
    assert [(contrast.system, contrast.dataset) for contrast in table.contrasts] == [
        (system, dataset) for system in ("better", "twin", "worse") for dataset in ("small", "large", "mean")
    ]


def test_the_p_values_are_corrected_by_holm_over_the_whole_table(table: ComparisonTable) -> None:
    plain, not_worse, equivalent = [], [], []
    for system in ("better", "twin", "worse"):
        differences = [values(report, system) - values(report, "base") for report in table.reports]
        weighted = np.concatenate([of / len(of) for of in differences]) / 2
        for of in (*differences, weighted):
            plain.append(randomization_test(of, np.zeros(len(of))))
        for of in differences:
            above = ttest_1samp(of, -0.01, alternative="greater").pvalue
            not_worse.append(above)
            equivalent.append(max(above, ttest_1samp(of, 0.01, alternative="less").pvalue))
        both = estimate(differences)
        not_worse.append(both.p_greater(-0.01))
        equivalent.append(both.p_equivalent(0.01))
    for name, expected in (("p_value", plain), ("p_not_worse", not_worse), ("p_equivalent", equivalent)):
        assert [getattr(contrast, name) for contrast in table.contrasts] == pytest.approx(holm(expected), abs=1e-12)


def test_wins_ties_and_losses_are_counted_by_query(table: ComparisonTable) -> None:
    counted = {(one.system, one.dataset): (one.wins, one.ties, one.losses) for one in table.contrasts}
    assert counted["twin", "small"] == (1, 29, 0) and counted["twin", "mean"] == (2, 148, 0)
    assert counted["better", "large"] == (120, 0, 0) and counted["worse", "large"] == (0, 0, 120)


def test_differences_and_detectable_differences_are_paired_by_query(table: ComparisonTable) -> None:
    for contrast in table.contrasts:
        reports = [report for report in table.reports if contrast.dataset in (report.dataset, "mean")]
        found = estimate([values(report, contrast.system) - values(report, "base") for report in reports])
        assert (
            contrast.difference == pytest.approx(found.interval())
            and contrast.minimum_detectable_difference == found.minimum_detectable_difference()
        )


def contrast_of(difference: float, p_value: float, p_not_worse: float, p_equivalent: float) -> Contrast:
    interval = Interval(difference, difference - 1, difference + 1)
    return Contrast("d", "s", interval, 1, 1, 1, p_value, p_not_worse, p_equivalent, 0.1)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((0.1, 0.05, 0.0, 1.0), "better"),
        ((-0.1, 0.01, 1.0, 1.0), "worse"),
        ((-0.001, 0.01, 0.01, 0.05), "worse, by less than 0.02"),
        ((0.001, 0.06, 0.01, 0.05), "equivalent within 0.02"),
        ((0.05, 0.06, 0.05, 0.06), "not worse by 0.02"),
        ((0.05, 0.06, 0.06, 0.06), "undecided"),
    ],
)
def test_a_verdict_follows_from_its_tests(found: tuple[float, float, float, float], verdict: str) -> None:
    assert contrast_of(*found).verdict(0.02) == verdict


def test_the_verdicts_fit_the_differences_of_the_systems(table: ComparisonTable) -> None:
    verdicts = {(one.system, one.dataset): one.verdict(table.equivalence_margin) for one in table.contrasts}
    assert {verdicts[name, on] for name in ("better", "worse") for on in (*SIZES, "mean")} == {"better", "worse"}
    assert verdicts["twin", "large"] == "equivalent within 0.01"


def test_means_of_data_sets_have_bootstrap_intervals_and_their_mean_an_estimate(table: ComparisonTable) -> None:
    of_base = [values(report, "base") for report in table.reports]
    assert table.means["base"] == [*(bootstrap(of) for of in of_base), estimate(of_base).interval()]
    assert table.means["base"][2].mean == pytest.approx((of_base[0].mean() + of_base[1].mean()) / 2)


def test_the_tables_have_a_row_for_each_system_and_for_each_contrast(table: ComparisonTable) -> None:
    means, differences, measures = table.tables()
    assert means.title == "nDCG@10 with 95 % intervals; small test (30 queries), large test (120 queries)"
    assert means.names == ("system", "small", "large", "mean")
    assert means.values("system") == ["base", "better", "twin", "worse"]
    assert means.values("mean") == [of_system[2] for of_system in table.means.values()]
    assert differences.title.startswith("nDCG@10 against base, ") and differences.title.endswith("for 9 rows")
    assert differences.names[2:8] == ("difference", "p (Holm)", "wins", "ties", "losses", "verdict")
    assert differences.names[8:] == ("minimum detectable difference",)
    twin = table.contrasts[3]
    assert differences.rows[3][:7] == ("small", "twin", twin.difference, twin.p_value, 1, 29, 0)
    assert measures.names == ("data set", "system", "nDCG@10", "RR@10", "ms/query (batched)", "index MiB")
    assert measures.rows[1][:2] == ("small", "better") and measures.rows[1][4:] == (2.0, 1.0)


def test_one_data_set_has_no_mean_and_one_system_no_contrasts() -> None:
    report = report_of("small", 30)
    table = ComparisonTable((report,), (ComparedSystem("base", ("base",)),), ("small",))
    means, measures = table.tables()
    assert means.names == ("system", "small") and table.contrasts == () and len(measures.rows) == 1


def test_queries_that_all_tie_have_no_minimum_detectable_difference() -> None:
    report = report_of("small", 30)
    same = (ComparedSystem("base", ("base",)), ComparedSystem("rerun", ("base",)))
    (row,) = ComparisonTable((report,), same, ("small",)).tables()[1].rows
    assert row == ("rerun", (0, 0, 0), 1.0, 0, 30, 0, "equivalent within 0.01", None)


def test_a_comparison_is_a_data_frame_and_tables_in_notebooks(table: ComparisonTable) -> None:
    pytest.importorskip("pandas")
    assert table.to_pandas()["small"].tolist() == [of_system[0].mean for of_system in table.means.values()]
    differences = table.to_pandas("differences")
    assert differences["difference low"].tolist() == [one.difference.low for one in table.contrasts]
    assert table.to_pandas("measures")["RR@10"].between(0, 1).all()
    assert table._repr_html_().count("<table>") == 3
    with pytest.raises(ValueError, match="table must be one of means, differences, measures, not 'all'"):
        table.to_pandas("all")  # type: ignore[arg-type]


def test_the_seeds_of_a_system_are_one_system() -> None:
    table = table_of(ComparedSystem("base", ("base",)), ComparedSystem("ours", ("better", "twin", "worse")))
    stacked = [np.stack([values(r, name) for name in ("better", "twin", "worse")]) for r in table.reports]
    base = [values(report, "base") for report in table.reports]
    assert table.means["ours"][0] == estimate([stacked[0]]).interval()
    assert table.means["ours"][2] == estimate(stacked).interval()
    both = table.contrasts[2]
    assert both.difference == estimate(stacked, base).interval()
    raw = [estimate([one], [other]).p_value() for one, other in zip(stacked, base, strict=True)]
    assert [one.p_value for one in table.contrasts] == pytest.approx(holm([*raw, estimate(stacked, base).p_value()]))
    assert both.wins + both.ties + both.losses == 150
    assert table.tables()[2].rows[1][:3] == ("small", "ours", pytest.approx(stacked[0].mean()))
    assert table.tables()[2].rows[1][4] == 4.0


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/a/b/data"], ("data",)),
        (["/a/b/cranfield", "/a/b/xquad/en", "/a/b/heq"], ("cranfield", "xquad/en", "heq")),
        (["/a/x", "/a/x"], ("x", "x #2")),
        (["python_docs", "/a/x"], ("python_docs", "/a/x")),
    ],
)
def test_data_sets_have_short_unique_names(places: list[str], names: tuple[str, ...]) -> None:
    assert short_names(places) == names


# ----------------------------------------------------------------------------------------------------------- compare


@pytest.fixture
def two(tmp_path: Path) -> tuple[Format, Format]:
    """Two data sets; the test split of the second is the dev split of the first."""
    first, second = (toys.write_dataset(tmp_path / name) for name in ("first", "second"))
    (second / "qrels" / "dev.tsv").replace(second / "qrels" / "test.tsv")
    return Beir(first), Beir(second)


def test_compare_evaluates_every_data_set_and_saves_each_report(two: tuple[Format, Format], tmp_path: Path) -> None:
    systems = (Bm25(), Bm25(k1=0.1), Bm25(title="long", b=0))
    comparison = Compare(two, systems, measures=("mrr@10",), output=tmp_path / "out", seed=3).run()
    assert comparison.names == ("first", "second") and comparison.measure == "RR@10"
    assert [system.name for system in comparison.systems] == ["bm25", "bm25 (k1 0.1)", "long"]
    for dataset, report in zip(two, comparison.reports, strict=True):
        alone = Evaluate(dataset, systems=systems, measures=("RR@10", "Judged@10"), seed=3).run()
        assert alone.to_dict()["dataset"] == report.to_dict()["dataset"] and alone.means == report.means
    saved = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert saved["queries"] == {"first": 10, "second": 10} and saved["equivalence_margin"] == 0.01
    assert saved["systems"][1]["means"]["mean"] == comparison.means["bm25 (k1 0.1)"][2]._asdict()
    assert saved["against_first"][0] == {
        **vars(comparison.contrasts[0]),
        "difference": comparison.contrasts[0].difference._asdict(),
        "verdict": comparison.contrasts[0].verdict(0.01),
    }
    assert (tmp_path / "out" / "comparison.md").read_text("utf-8") == comparison.to_markdown()
    assert (
        Report.load(tmp_path / "out" / "second").systems[2].index_bytes == comparison.reports[1].systems[2].index_bytes
    )
    inputs = json.loads((tmp_path / "out" / "inputs.json").read_text("utf-8"))["inputs"]
    assert set(inputs) == {"dataset[0]", "dataset[1]"}


def test_sizes_of_indexes_and_weights_are_measured(two: tuple[Format, Format], model: Path) -> None:
    comparison = Compare(two[:1], (Bm25(), Model(str(model)))).run()
    bm25, ours = comparison.reports[0].systems
    assert ours.model_bytes == (model / "model.safetensors").stat().st_size and bm25.model_bytes is None
    assert ours.index_bytes == pytest.approx(40 * 32 * 4, rel=0.2)  # forty embeddings of 32 numbers
    assert bm25.index_bytes and bm25.index_bytes > 1000
    assert comparison.tables()[-1].names[-3:] == ("ms/query (batched)", "index MiB", "model MiB")


def test_single_queries_are_timed_on_request(two: tuple[Format, Format], tmp_path: Path) -> None:
    write_run(tmp_path / "own.trec", {"q-library-history": {"library-history": 1.0}})
    systems = (Bm25(), RunFile(tmp_path / "own.trec"))
    comparison = Compare(two[:1], systems, measure_latency=True, output=tmp_path / "o").run()
    timed, read = (system.latency for system in comparison.reports[0].systems)
    assert 0 < timed["p50"] <= timed["p95"] <= timed["p99"] < 1000 and not read
    assert 0 < timed["index"] < timed["p99"] and timed["fusion"] > 0 and not {"encoder", "reranker"} & timed.keys()
    assert comparison.tables()[-1].values("ms, p95") == [timed["p95"], None]
    assert comparison.tables()[-1].values("ms, index") == [timed["index"], None]
    assert comparison.reports[0].table().values("ms, p99") == [timed["p99"], None]
    assert ComparisonTable.load(tmp_path / "o").reports[0].systems[0].latency == timed
    assert "ms, p50" not in Compare(two[:1], systems[:1]).run().tables()[-1].names


def test_memory_is_measured_in_a_separate_process(
    two: tuple[Format, Format], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "own.trec", {"q-library-history": {"library-history": 1.0}})
    comparison = Compare(
        two[:1], (Bm25(), Bm25(), RunFile(tmp_path / "own.trec")), measure_memory=True, output=tmp_path / "o"
    ).run()
    first, again, none = (system.memory_bytes for system in comparison.reports[0].systems)
    assert first and again and 2**23 < first < 2**29 and first == pytest.approx(again, rel=0.1) and none is None
    assert comparison.tables()[-1].values("memory MiB") == [first / 2**20, again / 2**20, None]
    assert [s.memory_bytes for s in ComparisonTable.load(tmp_path / "o").reports[0].systems] == [first, again, None]
    with pytest.raises(EnclozeError, match="the memory of gone could not be measured: .*gone"):
        Index(tmp_path / "gone").measure_memory(DatasetSplit(two[0], "test"), 10)
    monkeypatch.setattr("encloze.systems.base.PROCESS_STATUS", tmp_path / "no-proc")
    assert Bm25().measure_memory(DatasetSplit(two[0], "test"), 10) is None


def test_seeds_are_evaluated_separately_and_compared_as_one_system(two: tuple[Format, Format]) -> None:
    seeds = Seeds((Bm25(k1=0.5), Bm25(k1=2.0)), title="ours")
    comparison = Compare(two[:1], (Bm25(), seeds, Seeds((Bm25(b=0), Bm25(b=1))))).run()
    assert [system.name for system in comparison.systems] == ["bm25", "ours", "bm25 (b 0) (2 seeds)"]
    assert comparison.systems[1].members == ("bm25 (k1 0.5)", "bm25 (k1 2)")
    of_seeds = ["bm25 (k1 0.5)", "bm25 (k1 2)", "bm25 (b 0)", "bm25 (b 1)"]
    assert [system.name for system in comparison.reports[0].systems] == ["bm25", *of_seeds]
    assert comparison.values(comparison.reports[0], comparison.systems[2], "nDCG@10").shape == (2, 10)


def test_the_command_line_prints_three_tables_and_rerun_reproduces_them(
    two: tuple[Format, Format], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ",".join(str(dataset.location()) for dataset in two)
    (tmp_path / "part.trec").write_text("q-library-history Q0 library-history 1 2.5 mine\n", encoding="utf-8")
    line = ["compare", "--dataset", folders, "--systems", f"bm25,{tmp_path / 'part.trec'}", "--output"]
    assert main([*line, str(tmp_path / "out")]) == 2  # the second data set has none of its queries
    error = capsys.readouterr().err
    assert "part.trec: none of its 1 queries is judged" in error and "Evaluating" not in error  # before any work
    systems = "[bm25, {type: bm25, expansion: rm3, title: wide}, {type: seeds, systems: [bm25, {type: bm25, b: 0}]}]"
    assert main([*line[:-3], "--systems", systems, "--output", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    for words in (
        "nDCG@10 with 95 % intervals; first test (10 queries, 40 documents)",
        "against bm25, ",
        "for 6 rows",
        "wide",
        "bm25 (2 seeds)",
    ):
        assert words in output
    assert main(["rerun", str(tmp_path / "out")]) == 0
    first, again = (json.loads((tmp_path / name / "comparison.json").read_text()) for name in ("out", "out-rerun"))
    assert first == again


def test_a_single_seed_and_seeds_in_place_of_one_system_are_refused(two: tuple[Format, Format]) -> None:
    with pytest.raises(ValueError, match="systems must list two or more seeds"):
        Seeds((Bm25(),))
    with pytest.raises(RecipeError, match="a group of seeds cannot be used here"):
        Seeds((Bm25(), Bm25())).rank(None, 3)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="a system is tuned on the evaluated split 'test'"):
        Compare(two, (Seeds((Bm25(), Bm25(tune_on="test"))),))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": ()}, "dataset is empty"),
        ({"systems": ()}, "systems is empty"),
        ({"equivalence_margin": 0.0}, "equivalence_margin must be above 0, not 0.0"),
        ({"measures": ("ndgc@10",)}, "unknown measure 'ndgc@10'"),
        ({"depth": 0}, "depth must be 1 or more, not 0"),
    ],
)
def test_an_invalid_comparison_is_refused_before_any_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Compare(**{"dataset": (Beir(Path("x")),), "systems": (Bm25(),), **settings})  # type: ignore[arg-type]

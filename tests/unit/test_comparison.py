"""A comparison holds every system against the first on each data set and their mean, and corrects for all of it."""

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
from encloze.evaluation.comparison import ComparisonTable, Competitor, Contrast, short_names
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import Report, SystemResult
from encloze.evaluation.significance import Interval, bootstrap, holm, randomisation_test
from encloze.systems._memory import memory_of
from encloze.systems.bm25 import Bm25
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.run import RunFile
from encloze.systems.seeds import Seeds

SIZES = {"small": 30, "large": 120}


def report_of(name: str, count: int) -> Report:
    """Four systems: a baseline, a better one, the baseline's twin but for one query, and one that is far worse."""
    draw = np.random.default_rng(count)
    base = draw.random(count) * 0.8
    twin = base.copy()
    twin[0] += 0.001
    values = {"base": base, "better": base + draw.random(count) * 0.3, "twin": twin, "worse": base * 0.3}
    systems = tuple(
        SystemResult(system, {}, {"nDCG@10": of, "RR@10": of / 2}, 2.0 * place, "", 2**20, None)
        for place, (system, of) in enumerate(values.items())
    )
    return Report(name, "test", ("nDCG@10", "RR@10"), tuple(f"q{n}" for n in range(count)), systems)


def table_of(*competitors: Competitor, **settings: float) -> ComparisonTable:
    chosen = competitors or tuple(Competitor(name, (name,)) for name in ("base", "better", "twin", "worse"))
    reports = tuple(report_of(name, count) for name, count in SIZES.items())
    return ComparisonTable(reports, chosen, tuple(SIZES), **settings)


@pytest.fixture(scope="module")
def table() -> ComparisonTable:
    return table_of()


def values(report: Report, system: str) -> np.ndarray:
    return next(found.values["nDCG@10"] for found in report.systems if found.name == system)


def test_every_other_system_is_held_against_the_first_on_each_data_set_and_the_mean(table: ComparisonTable) -> None:
    assert [(contrast.system, contrast.dataset) for contrast in table.contrasts] == [
        (system, dataset) for system in ("better", "twin", "worse") for dataset in ("small", "large", "mean")
    ]


def test_the_p_values_are_corrected_by_holm_over_the_whole_table(table: ComparisonTable) -> None:
    plain, not_worse, equivalent = [], [], []
    for system in ("better", "twin", "worse"):
        differences = [values(report, system) - values(report, "base") for report in table.reports]
        weighted = np.concatenate([of / len(of) for of in differences]) / 2
        for of in (*differences, weighted):
            plain.append(randomisation_test(of, np.zeros(len(of))))
        for of in differences:
            above = ttest_1samp(of, -0.01, alternative="greater").pvalue
            not_worse.append(above)
            equivalent.append(max(above, ttest_1samp(of, 0.01, alternative="less").pvalue))
        both = estimate(differences)
        not_worse.append(both.p_above(-0.01))
        equivalent.append(both.p_within(0.01))
    for name, expected in (("p_value", plain), ("p_not_worse", not_worse), ("p_equivalent", equivalent)):
        assert [getattr(contrast, name) for contrast in table.contrasts] == pytest.approx(holm(expected), abs=1e-12)


def test_wins_ties_and_losses_are_counted_by_query(table: ComparisonTable) -> None:
    counted = {(one.system, one.dataset): (one.wins, one.ties, one.losses) for one in table.contrasts}
    assert counted["twin", "small"] == (1, 29, 0) and counted["twin", "mean"] == (2, 148, 0)
    assert counted["better", "large"] == (120, 0, 0) and counted["worse", "large"] == (0, 0, 120)


def test_differences_and_what_queries_can_show_come_from_the_pairs(table: ComparisonTable) -> None:
    for contrast in table.contrasts:
        reports = [report for report in table.reports if contrast.dataset in (report.dataset, "mean")]
        found = estimate([values(report, contrast.system) - values(report, "base") for report in reports])
        assert contrast.difference == pytest.approx(found.interval()) and contrast.smallest == found.smallest()


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
def test_a_verdict_says_no_more_than_its_tests(found: tuple[float, float, float, float], verdict: str) -> None:
    assert contrast_of(*found).verdict(0.02) == verdict


def test_the_verdicts_are_those_that_the_systems_were_made_for(table: ComparisonTable) -> None:
    verdicts = {(one.system, one.dataset): one.verdict(table.margin) for one in table.contrasts}
    assert {verdicts[name, on] for name in ("better", "worse") for on in (*SIZES, "mean")} == {"better", "worse"}
    assert verdicts["twin", "large"] == "equivalent within 0.01"


def test_the_means_of_data_sets_are_bootstrapped_and_their_mean_takes_them_as_they_are(table: ComparisonTable) -> None:
    of_base = [values(report, "base") for report in table.reports]
    assert table.means["base"] == [*(bootstrap(of) for of in of_base), estimate(of_base).interval()]
    assert table.means["base"][2].mean == pytest.approx((of_base[0].mean() + of_base[1].mean()) / 2)


def test_the_tables_have_a_row_for_each_system_and_for_each_contrast(table: ComparisonTable) -> None:
    means, against, measured = table.tables()
    assert means.title == "nDCG@10 with 95 % intervals; small test (30 queries), large test (120 queries)"
    assert means.rows[0] == ["system", "small", "large", "mean"]
    assert [row[0] for row in means.rows[1:]] == ["base", "better", "twin", "worse"]
    assert against.title.startswith("nDCG@10 against base: ") and against.title.endswith("for all 9 lines")
    assert against.rows[0][2:] == ["difference", "p (Holm)", "wins/ties/losses", "verdict", "visible from"]
    assert against.rows[4][:2] == ["small", "twin"] and against.rows[4][4] == "1/29/0"
    assert measured.rows[0] == ["data set", "system", "nDCG@10", "RR@10", "ms/query", "index MiB"]
    assert measured.rows[2][:2] == ["small", "better"] and measured.rows[2][4:] == ["2.0", "1.00"]
    for table_ in (means, against, measured):
        assert len({len(row) for row in table_.rows}) == 1


def test_one_data_set_has_no_mean_and_one_system_no_contrasts() -> None:
    report = report_of("small", 30)
    table = ComparisonTable((report,), (Competitor("base", ("base",)),), ("small",))
    means, measured = table.tables()
    assert means.rows[0] == ["system", "small"] and table.contrasts == () and len(measured.rows) == 2


def test_queries_that_all_tie_do_not_pretend_to_show_anything() -> None:
    report = report_of("small", 30)
    same = (Competitor("base", ("base",)), Competitor("rerun", ("base",)))
    rows = ComparisonTable((report,), same, ("small",)).tables()[1].rows
    assert rows[1] == [
        "rerun",
        "+0.0000 [+0.0000, +0.0000]",
        "1.0000",
        "0/30/0",
        "equivalent within 0.01",
        "",
    ]


def test_the_seeds_of_a_system_count_together() -> None:
    table = table_of(Competitor("base", ("base",)), Competitor("ours", ("better", "twin", "worse")))
    stacked = [np.stack([values(r, name) for name in ("better", "twin", "worse")]) for r in table.reports]
    base = [values(report, "base") for report in table.reports]
    assert table.means["ours"][0] == estimate([stacked[0]]).interval()
    assert table.means["ours"][2] == estimate(stacked).interval()
    both = table.contrasts[2]
    assert both.difference == estimate(stacked, base).interval()
    raw = [estimate([one], [other]).p_value() for one, other in zip(stacked, base, strict=True)]
    assert [one.p_value for one in table.contrasts] == pytest.approx(holm([*raw, estimate(stacked, base).p_value()]))
    assert both.wins + both.ties + both.losses == 150
    assert table.tables()[2].rows[2][:3] == ["small", "ours", f"{stacked[0].mean():.4f}"]
    assert table.tables()[2].rows[2][4] == "4.0"


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/a/b/data"], ("data",)),
        (["/a/b/cranfield", "/a/b/xquad/en", "/a/b/heq"], ("cranfield", "xquad/en", "heq")),
        (["/a/x", "/a/x"], ("x", "x #2")),
        (["python_docs", "/a/x"], ("python_docs", "/a/x")),
    ],
)
def test_data_sets_are_called_as_shortly_as_they_differ(places: list[str], names: tuple[str, ...]) -> None:
    assert short_names(places) == names


# ----------------------------------------------------------------------------------------------------------- compare


@pytest.fixture
def two(tmp_path: Path) -> tuple[Format, Format]:
    """Two data sets, of the second the test split is what is dev in the first."""
    first, second = (toys.write_dataset(tmp_path / name) for name in ("first", "second"))
    (second / "qrels" / "dev.tsv").replace(second / "qrels" / "test.tsv")
    return Beir(first), Beir(second)


def test_comparing_evaluates_every_data_set_and_keeps_each_report(two: tuple[Format, Format], tmp_path: Path) -> None:
    systems = (Bm25(), Bm25(k1=0.1), Bm25(title="long", b=0))
    made = Compare(two, systems, measures=("mrr@10",), output=tmp_path / "out", seed=3).run()
    assert made.names == ("first", "second") and made.measure == "RR@10"
    assert [competitor.name for competitor in made.competitors] == ["bm25", "bm25 (k1 0.1)", "long"]
    for dataset, report in zip(two, made.reports, strict=True):
        alone = Evaluate(dataset, systems=systems, measures=("RR@10", "Judged@10"), seed=3).run()
        assert alone.figures()["dataset"] == report.figures()["dataset"] and alone.means == report.means
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert kept["queries"] == {"first": 10, "second": 10} and kept["margin"] == 0.01
    assert kept["systems"][1]["means"]["mean"] == made.means["bm25 (k1 0.1)"][2]._asdict()
    assert kept["against_first"][0] == {
        **vars(made.contrasts[0]),
        "difference": made.contrasts[0].difference._asdict(),
        "verdict": made.contrasts[0].verdict(0.01),
    }
    assert (tmp_path / "out" / "comparison.md").read_text("utf-8") == made.markdown()
    assert Report.load(tmp_path / "out" / "second").systems[2].index_bytes == made.reports[1].systems[2].index_bytes
    inputs = json.loads((tmp_path / "out" / "inputs.json").read_text("utf-8"))["inputs"]
    assert set(inputs) == {"dataset[0]", "dataset[1]"}


def test_the_size_of_indexes_and_weights_is_told(two: tuple[Format, Format], model: Path) -> None:
    made = Compare(two[:1], (Bm25(), Model(str(model)))).run()
    bm25, ours = made.reports[0].systems
    assert ours.model_bytes == (model / "model.safetensors").stat().st_size and bm25.model_bytes is None
    assert ours.index_bytes == pytest.approx(40 * 32 * 4, rel=0.2)  # forty embeddings of 32 numbers
    assert bm25.index_bytes and bm25.index_bytes > 1000
    assert made.tables()[-1].rows[0][-3:] == ["ms/query", "index MiB", "model MiB"]


def test_memory_is_that_of_a_process_which_does_nothing_else(
    two: tuple[Format, Format], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "own.trec", {"q-library-history": {"library-history": 1.0}})
    made = Compare(two[:1], (Bm25(), Bm25(), RunFile(tmp_path / "own.trec")), memory=True, output=tmp_path / "o").run()
    first, again, none = (system.memory_bytes for system in made.reports[0].systems)
    assert first and again and 2**23 < first < 2**29 and first == pytest.approx(again, rel=0.1) and none is None
    assert made.tables()[-1].rows[0][-1] == "memory MiB" and made.tables()[-1].rows[-1][-1] == ""
    assert [s.memory_bytes for s in ComparisonTable.load(tmp_path / "o").reports[0].systems] == [first, again, None]
    with pytest.raises(EnclozeError, match="the memory of gone could not be measured: .*gone"):
        memory_of(Index(tmp_path / "gone"), DatasetSplit(two[0], "test"), 10)
    monkeypatch.setattr("encloze.systems._memory._STATUS", tmp_path / "no-proc")
    assert memory_of(Bm25(), DatasetSplit(two[0], "test"), 10) is None


def test_seeds_are_ranked_one_by_one_and_compared_as_one(two: tuple[Format, Format]) -> None:
    seeds = Seeds((Bm25(k1=0.5), Bm25(k1=2.0)), title="ours")
    made = Compare(two[:1], (Bm25(), seeds, Seeds((Bm25(b=0), Bm25(b=1))))).run()
    assert [competitor.name for competitor in made.competitors] == ["bm25", "ours", "bm25 (b 0) (2 seeds)"]
    assert made.competitors[1].members == ("bm25 (k1 0.5)", "bm25 (k1 2)")
    of_seeds = ["bm25 (k1 0.5)", "bm25 (k1 2)", "bm25 (b 0)", "bm25 (b 1)"]
    assert [system.name for system in made.reports[0].systems] == ["bm25", *of_seeds]
    assert made.values(made.reports[0], made.competitors[2], "nDCG@10").shape == (2, 10)


def test_the_command_line_shows_the_three_tables_and_again_repeats_them(
    two: tuple[Format, Format], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ",".join(str(dataset.place()) for dataset in two)
    (tmp_path / "part.trec").write_text("q-library-history Q0 library-history 1 2.5 mine\n", encoding="utf-8")
    line = ["compare", "--dataset", folders, "--systems", f"bm25,{tmp_path / 'part.trec'}", "--output"]
    assert main([*line, str(tmp_path / "out")]) == 2  # the second data set has none of its queries
    told = capsys.readouterr().err
    assert "part.trec: none of its 1 queries is judged" in told and "Judging" not in told  # before any work
    systems = "[bm25, {type: bm25, expansion: rm3, title: wide}, {type: seeds, systems: [bm25, {type: bm25, b: 0}]}]"
    assert main([*line[:-3], "--systems", systems, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for words in (
        "nDCG@10 with 95 % intervals; first test (10 queries, 40 documents)",
        "against bm25: ",
        "all 6 lines",
        "wide",
        "bm25 (2 seeds)",
    ):
        assert words in said
    assert main(["rerun", str(tmp_path / "out")]) == 0
    first, again = (json.loads((tmp_path / name / "comparison.json").read_text()) for name in ("out", "out-again"))
    assert first == again


def test_seeds_alone_or_where_one_system_is_asked_for_are_refused(two: tuple[Format, Format]) -> None:
    with pytest.raises(ValueError, match="seeds are two or more; one alone says nothing of how they differ"):
        Seeds((Bm25(),))
    with pytest.raises(RecipeError, match="seeds stand for several systems: name one of them here"):
        Seeds((Bm25(), Bm25())).rank(None, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a system is tuned on 'test', the split that is judged"):
        Compare(two, (Seeds((Bm25(), Bm25(tune_on="test"))),))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dataset": ()}, "dataset is empty: name at least one, as in --dataset FOLDER,FOLDER"),
        ({"systems": ()}, "systems is empty: name at least one"),
        ({"margin": 0.0}, "margin must be above 0, not 0.0"),
        ({"measures": ("ndgc@10",)}, "no measure is called 'ndgc@10'"),
        ({"depth": 0}, "depth must be 1 or more, not 0"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_before_any_work(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Compare(**{"dataset": (Beir(Path("x")),), "systems": (Bm25(),), **settings})  # type: ignore[arg-type]

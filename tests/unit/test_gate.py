"""The gate fails if a result is worse by more than the margin and significantly, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import encloze
from encloze.cli.main import main
from encloze.errors import DataError, RecipeError
from encloze.evaluation.gate import compare_with_baseline
from encloze.evaluation.report import Report
from encloze.evaluation.results import SystemResult
from encloze.evaluation.significance import randomization_test
from encloze.storage.manifest import write_manifest

QUERIES = tuple(f"q{number}" for number in range(60))
BEFORE = np.random.default_rng(0).uniform(0.3, 0.9, 60)
NOISE = np.random.default_rng(1).normal(0, 0.02, 60)


def report(queries: tuple[str, ...] = QUERIES, **systems: np.ndarray) -> Report:
    results = [SystemResult(name, {}, values={"nDCG@10": v, "RR@10": v / 2}) for name, v in systems.items()]
    return Report("data", "dev", ("nDCG@10", "RR@10"), queries, tuple(results))


@pytest.mark.parametrize(
    ("loss", "noise", "margin", "fails"),
    [
        (0.05, 1, 0.01, True),
        (0.05, 1, 0.06, False),  # within the margin
        (0.05, 40, 0.01, False),  # not significant
        (-0.05, 1, 0.0, False),  # better
        (0.0, 0, 0.0, False),
        (0.001, 0, 0.0, True),  # the same small loss for every query
    ],
)
def test_a_loss_must_be_large_and_significant(loss: float, noise: float, margin: float, fails: bool) -> None:
    after = BEFORE - loss + noise * (NOISE - NOISE.mean())
    result = compare_with_baseline(report(mine=after), report(mine=BEFORE), margin=margin)
    (one,) = result.regressions
    assert result.has_failed == one.is_worse == fails
    assert one.difference.mean == pytest.approx(-loss) and one.p_value == randomization_test(after, BEFORE)
    assert result.tables()[0].rows[0][-1] == ("worse" if fails else "passed")


def test_a_note_says_how_large_a_loss_must_be() -> None:
    noisy = compare_with_baseline(report(mine=BEFORE + 5 * NOISE), report(mine=BEFORE))
    assert any("only losses of about 0.0" in note for note in noisy.notes)
    exact = compare_with_baseline(report(mine=BEFORE + NOISE / 100), report(mine=BEFORE))
    assert len(exact.notes) == 1


def test_queries_are_matched_by_id_and_systems_by_name() -> None:
    order = np.random.default_rng(2).permutation(60)
    shuffled = report(tuple(QUERIES[n] for n in order), b=BEFORE[order] - 0.1, a=BEFORE[order], new=BEFORE[order])
    result = compare_with_baseline(shuffled, report(a=BEFORE, b=BEFORE), ["RR@10", "ndcg@10"])
    found = {(one.system, one.measure): one for one in result.regressions}
    assert [key for key, one in found.items() if one.is_worse] == [("b", "RR@10"), ("b", "nDCG@10")]
    assert found["b", "RR@10"].difference.mean == pytest.approx(-0.05)
    assert found["a", "nDCG@10"].p_value == 1 and found["b", "RR@10"].p_value == pytest.approx(4 / 10001)
    (renamed,) = compare_with_baseline(report(second=BEFORE), report(first=BEFORE)).regressions
    assert renamed.system == "second"


def test_reports_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="evaluated on other queries; 1 are only in one of them: q59"):
        compare_with_baseline(report(QUERIES[:59], mine=BEFORE[:59]), report(mine=BEFORE))
    with pytest.raises(
        DataError, match="baseline was evaluated on the split dev of data, and the result on the split test"
    ):
        compare_with_baseline(replace(report(a=BEFORE), split="test"), report(a=BEFORE))
    compare_with_baseline(replace(report(a=BEFORE), dataset="elsewhere/data"), report(a=BEFORE))
    with pytest.raises(DataError, match="the result has no system 'b' of the baseline; it has a, c"):
        compare_with_baseline(report(a=BEFORE, c=BEFORE), report(a=BEFORE, b=BEFORE))
    with pytest.raises(DataError, match=r"the result has no measure P@1; it has nDCG@10, RR@10"):
        compare_with_baseline(report(a=BEFORE), report(a=BEFORE), ["P@1"])


def test_the_command_line_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, values in (("before", BEFORE), ("same", BEFORE), ("worse", BEFORE - 0.1)):
        (tmp_path / name).mkdir()
        report(mine=values).save(tmp_path / name)
        write_manifest(tmp_path / name)
    baseline = ["--baseline", str(tmp_path / "before")]
    assert main(["gate", str(tmp_path / "same"), *baseline]) == 0 and "passed" in capsys.readouterr().out
    assert main(["gate", str(tmp_path / "worse"), *baseline]) == 1 and "worse" in capsys.readouterr().out
    assert main(["gate", str(tmp_path / "worse"), *baseline, "--margin", "0.2"]) == 0
    assert main(["gate", str(tmp_path / "missing"), *baseline]) == 2
    with pytest.raises(RecipeError, match="margin must be 0 or more"):
        encloze.gate(tmp_path / "same", tmp_path / "before", margin=-1)
    assert encloze.gate(tmp_path / "worse", tmp_path / "before").has_failed
    assert main(["gate", str(tmp_path / "worse"), *baseline, "--measures", "foo"]) == 2

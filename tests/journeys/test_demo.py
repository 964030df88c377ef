"""The demo: its forecast, and all of its steps on few texts with a new encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encloze.cli.main import main
from encloze.commands.demo import REFERENCE_SPEED, SIZES, Demo, Speed


def scaled(factor: float) -> Speed:
    """Return the speed of a machine on which everything takes ``factor`` times as long."""
    return Speed(REFERENCE_SPEED.pretraining * factor, REFERENCE_SPEED.finetuning * factor)


def test_the_reference_machine_takes_about_seven_minutes_at_the_full_size() -> None:
    demo = Demo()
    assert demo.size_for(REFERENCE_SPEED).name == "full"
    assert 6 <= demo.forecast(SIZES[0], REFERENCE_SPEED) <= 8


def test_a_slow_machine_uses_fewer_and_shorter_texts_but_not_fewer_steps() -> None:
    demo = Demo()
    names = [demo.size_for(scaled(factor)).name for factor in (0.1, 1.5, 2.5, 4, 100)]
    assert names == ["full", "full", "reduced", "minimal", "minimal"]
    for factor in (1.5, 2.5, 4):
        assert demo.forecast(demo.size_for(scaled(factor)), scaled(factor)) <= demo.max_minutes
    sizes = [(len(size.packages), size.max_document_tokens, size.max_pretraining_tokens) for size in SIZES]
    assert sizes == sorted(sizes, reverse=True)
    assert demo.forecast(SIZES[0], REFERENCE_SPEED) < Demo(pretraining_steps=120).forecast(SIZES[0], REFERENCE_SPEED)


def test_a_given_size_is_not_reduced() -> None:
    assert Demo(size="full").size_for(scaled(100)).name == "full"


def test_a_run_that_is_too_small_is_reported() -> None:
    assert Demo().limitations(num_queries=2250) == []
    (reason,) = Demo().limitations(num_queries=367)
    assert reason == "367 test queries cannot detect differences below about 0.04 nDCG@10"
    few, other = Demo(pretraining_steps=5, finetuning_steps=5).limitations(num_queries=2250)
    assert few == "5 steps are too few to show an effect of pre-training"
    assert other == "5 steps are too few to show an effect of fine-tuning"


@pytest.mark.parametrize("setting", ["pretraining_steps", "finetuning_steps", "max_minutes"])
def test_settings_out_of_range_are_rejected(setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", str(tmp_path / "demo"), f"--{setting}", "0"]) == 2
    assert f"{setting} must be 1 or more, not 0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_ends_with_an_evaluation_and_a_searchable_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo"
    steps = ["--pretraining_steps", "3", "--finetuning_steps", "2"]
    arguments = ["demo", "--backbone", "scratch", "--size", "minimal", *steps, "--output", str(output)]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    messages = " ".join(printed.err.split())
    assert "The minimal size, with texts of up to 64 tokens, will take about" in messages
    assert "this demo is too small to show effects of training: 367 test queries cannot detect" in messages
    for title in ("BM25", "fine-tuned only", "RetroMAE, then fine-tuned", "hybrid with BM25", "RetroMAE (3 steps)"):
        assert title in printed.out
    assert "MiniLM" not in printed.out
    report = json.loads((output / "report" / "report.json").read_text())
    assert report["queries"] > 50 and len(report["systems"]) == 4
    log = [json.loads(line) for line in (output / "pretrained" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 3
    page = output / "page" / "report.html"
    assert str(page) in printed.out.replace("\n", "") and "hybrid with BM25" in page.read_text()
    assert "nDCG@10" in (output / "retromae-finetuned" / "README.md").read_text()
    assert main(["search", "--index", str(output / "index"), "read a zip archive"]) == 0
    assert " 1. " in capsys.readouterr().out
    assert main(arguments) == 2
    assert "already exists. Resume it with --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "was started with other settings" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0

"""Pipelines: stages are finished once, resumed after a kill, and repeated if their settings or inputs change."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from encloze import recipe
from encloze.cli.main import main
from encloze.commands.base import Command
from encloze.commands.run import Run
from encloze.errors import DataError, RecipeError
from encloze.evaluation.report import Report
from encloze.storage.json_files import read_json
from encloze.storage.names import MANIFEST
from encloze.training.batch_plan import Step
from encloze.training.optimizer_step import OptimizerSteps

STAGES = ["pretrained", "bm25_negatives", "first", "mined", "second", "reranker", "scores", "distilled", "evaluation"]
SMALL = {
    **{f"stages.{name}.training": {"steps": 4, "precision": "float32", "save_steps": 2}
       for name in ("pretrained", "first", "second", "reranker", "distilled")},
    "stages.pretrained.model.tokenizer.vocab_size": 300,
    **{f"stages.{name}.max_document_tokens": 120 for name in ("first", "second", "distilled")},
    "stages.scores.precision": "float32",
}  # fmt: skip


def tiny(dataset: Path, output: Path, **more: Any) -> Run:
    """Return the shipped recipe with fewer steps."""
    tree = recipe.read("tiny", "run")
    tree.pop("verb")
    flags = {**SMALL, "report": False, **more}
    values = {path: value if isinstance(value, str) else json.dumps(value) for path, value in flags.items()}
    tree = recipe.apply_flags(tree, [("dataset", str(dataset)), ("output", str(output)), *values.items()])
    pipeline: Run = recipe.build(Run, tree)
    return pipeline


def result_hashes(folder: Path) -> dict[str, str]:
    """Return the hashes of the result files that contain no times and no paths."""
    kinds = ("model.safetensors", "heads.safetensors", "run.trec", "per_query.tsv")
    return {
        f"{stage}/{name}": entry["xxh3_128"]
        for stage in STAGES
        for name, entry in read_json(folder / stage / MANIFEST)["files"].items()
        if name.endswith(kinds)
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and a pipeline that was run on it without interruption."""
    import os

    import toys

    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "ENCLOZE_CACHE", str(folder / "cache"))
        dataset = toys.write_dataset(folder / "toys")
        tiny(dataset, folder / "out").run()
    return dataset, folder / "out"


class Killed(BaseException):
    """Simulates a kill of the process."""


def kill_at(patch: pytest.MonkeyPatch, stage: str, folder: Path) -> None:
    """Kill the process within a stage: after a checkpoint of a training run, or before another command runs."""
    if stage in ("pretrained", "first", "second", "reranker", "distilled"):
        run_step = OptimizerSteps.run

        def killed_in_the_fourth_step(self: OptimizerSteps, step: Step) -> Any:
            if step.number == 3 and (folder / f"{stage}.checkpoint").exists():
                raise Killed
            return run_step(self, step)

        patch.setattr(OptimizerSteps, "run", killed_in_the_fourth_step)
        return
    command = {"bm25_negatives": "mine", "mined": "mine", "scores": "score", "evaluation": "evaluate"}[stage]
    kind: Any = Command.member(command)
    run = kind.run

    def killed_before_it_runs(self: Any) -> Any:
        if self.output.name == stage:
            raise Killed
        return run(self)

    patch.setattr(kind, "run", killed_before_it_runs)


BY_DEFAULT = ("mined", "second")  # a stage killed before it starts, and one killed after a checkpoint


@pytest.mark.parametrize("stage", [pytest.param(s, marks=[] if s in BY_DEFAULT else pytest.mark.slow) for s in STAGES])
def test_a_pipeline_killed_in_any_stage_is_resumed_to_the_same_results(
    stage: str, uninterrupted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, finished = uninterrupted
    before = STAGES[: STAGES.index(stage)]
    shutil.copytree(finished, tmp_path / "out", ignore=lambda at, names: set(STAGES) - set(before) & set(names))
    file = tmp_path / "out" / "stages.json"
    keys = {name: key for name, key in json.loads(file.read_text())["done"].items() if name in before}
    file.write_text(json.dumps({"done": keys, "started": {}}))
    with monkeypatch.context() as patch:
        kill_at(patch, stage, tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out").run()
    assert not (tmp_path / "out" / stage).exists()
    result = tiny(dataset, tmp_path / "out", report=stage == "mined").run()
    assert result_hashes(tmp_path / "out") == result_hashes(finished)
    assert result.report is not None and len(result.effects) == 4
    if stage == "mined":
        assert result.page is not None and "second: training (finetune)" in result.page.read_text(encoding="utf-8")


def test_finished_stages_are_not_repeated(uninterrupted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, finished = uninterrupted
    for command in ("pretrain", "mine", "finetune", "finetune_reranker", "score", "evaluate"):
        monkeypatch.setattr(Command.member(command), "run", None)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    notes: list[str] = []
    monkeypatch.setattr("encloze.progress.note", notes.append)
    result = tiny(dataset, finished, report=True).run()
    assert result.report is not None and result.report.systems[0].name == "bm25"
    assert result.page is None and "No report page was written" in notes[-1]
    assert "pip install 'encloze[report]'" in notes[-1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that are run. Their commands are replaced and do nothing."""
    stages: list[str] = []
    for command in Command.members():
        if command != "run":
            monkeypatch.setattr(Command.member(command), "run", lambda self: stages.append(self.output.name))
    return stages


@pytest.mark.parametrize(
    ("change", "repeated"),
    [
        ({"stages.reranker.training": {"steps": 3}}, ["reranker", "scores", "distilled", "evaluation"]),
        ({"stages.evaluation.depth": 50}, ["evaluation"]),
        ({"stages.mined.num_negatives": 9}, ["mined", "second", "reranker", "scores", "distilled", "evaluation"]),
    ],
)
def test_a_changed_stage_and_those_that_depend_on_it_are_repeated(
    change: dict[str, Any], repeated: list[str], uninterrupted: tuple[Path, Path], tmp_path: Path, started: list[str]
) -> None:
    dataset, finished = uninterrupted
    shutil.copytree(finished, tmp_path / "out")
    tiny(dataset, tmp_path / "out", **change).run()
    assert started == repeated


def test_all_stages_that_read_a_changed_file_are_repeated(
    uninterrupted: tuple[Path, Path], tmp_path: Path, started: list[str]
) -> None:
    dataset, finished = uninterrupted
    shutil.copytree(finished, tmp_path / "out")
    shutil.copytree(dataset, tmp_path / "toys")
    with (tmp_path / "toys" / "qrels" / "dev.tsv").open("a") as stream:
        stream.write("q-river-history\triver-dangers\t1\n")
    tiny(tmp_path / "toys", tmp_path / "out").run()
    assert started == STAGES


@pytest.mark.parametrize("change", ["path of the data", "path of the output", "unused setting"])
def test_changes_without_influence_on_results_repeat_nothing(
    change: str, uninterrupted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    dataset, finished = uninterrupted
    shutil.copytree(finished, tmp_path / "out")
    shutil.copytree(dataset, tmp_path / "toys")
    monkeypatch.chdir(tmp_path)
    if change == "path of the data":
        tiny(Path("toys"), tmp_path / "out").run()
    elif change == "path of the output":
        tiny(dataset, Path("out")).run()
    else:
        tiny(dataset, tmp_path / "out", model=str(dataset)).run()
    assert started == []


def test_a_stage_killed_while_it_is_repeated_is_not_finished(
    uninterrupted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, finished = uninterrupted
    shutil.copytree(finished, tmp_path / "out")
    with monkeypatch.context() as patch:
        kill_at(patch, "evaluation", tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out", **{"stages.evaluation.depth": 50}).run()
    tiny(dataset, tmp_path / "out", **{"stages.evaluation.depth": 50}).run()
    assert recipe.read(str(tmp_path / "out" / "evaluation" / "recipe.yaml"), "evaluate")["depth"] == 50


def test_unfinished_work_of_other_settings_is_not_resumed(
    uninterrupted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, finished = uninterrupted
    shutil.copytree(finished, tmp_path / "out")
    with monkeypatch.context() as patch:
        kill_at(patch, "distilled", tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out", **{"stages.distilled.seed": 7}).run()
    assert (tmp_path / "out" / "distilled.checkpoint").is_dir()
    tiny(dataset, tmp_path / "out").run()
    assert result_hashes(tmp_path / "out") == result_hashes(finished)
    assert not (tmp_path / "out" / "distilled.checkpoint").exists()


@pytest.mark.parametrize("moment", ["at its start", "while its work folder is deleted", "after its end"])
def test_a_kill_at_any_moment_of_a_stage_is_survived(
    moment: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {
        "first": {"verb": "mine", "dataset": "@dataset", "sources": ["bm25"], "num_negatives": 3},
        "second": {"verb": "mine", "dataset": "@dataset", "sources": ["@first"]},
    }
    tree = {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages, "report": False}

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "at its start":
            patch.setattr("encloze.storage.run_state.write_checked_json", killed)
        elif moment == "after its end":
            patch.setattr("encloze.storage.stage_record.StageRecord.finish", killed)
        else:
            patch.setattr(
                "encloze.storage.run_state.shutil.rmtree",
                lambda path, **_: killed() if Path(path).exists() and ".checkpoint.old-" in Path(path).name else None,
            )
        with pytest.raises(Killed):
            recipe.build(Run, tree).run()
    assert (tmp_path / "out" / "first").exists() == (moment != "at its start")
    notes: list[str] = []
    monkeypatch.setattr("encloze.progress.note", notes.append)
    recipe.build(Run, tree).run()
    is_skipped = "Stage 1 of 2, first, is already finished" in notes
    assert is_skipped == (moment != "at its start") and (tmp_path / "out" / "second").is_dir()
    assert not list((tmp_path / "out").glob("*.checkpoint"))


def test_a_damaged_stage_runs_again(dataset: Path, tmp_path: Path) -> None:
    stages = {"first": {"verb": "mine", "dataset": "@dataset", "sources": ["bm25"], "num_negatives": 3}}
    tree = {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages, "report": False}
    recipe.build(Run, tree).run()
    file = tmp_path / "out" / "first" / "run.trec"
    before = file.read_bytes()
    file.write_bytes(before[:-2] + b"X\n")
    with pytest.warns(UserWarning, match=r"run\.trec has changed since it was written.*The stage runs again"):
        recipe.build(Run, tree).run()
    assert file.read_bytes() == before


def test_a_truncated_record_file_is_replaced(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".stages.json").write_text('{"beg')
    stages = {"first": {"verb": "mine", "dataset": "@dataset"}}
    tree = {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages, "report": False}
    recipe.build(Run, tree).run()


def test_a_stage_that_refers_to_a_run_of_another_is_finished_once(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it exists, the folder could be a run or a model, which must not change the key of the stage."""
    stages = {
        "first": {"verb": "mine", "dataset": "@dataset", "sources": ["bm25"], "num_negatives": 3},
        "second": {"verb": "mine", "dataset": "@dataset", "sources": ["@first"]},
        "evaluation": {"verb": "evaluate", "dataset": "@dataset", "split": "train", "systems": ["bm25", "@first"]},
    }
    tree = {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages, "report": False}
    result = recipe.build(Run, tree).run()
    assert (result.report.systems[1].values["nDCG@10"] == 0).all()  # negatives contain no relevant document
    notes: list[str] = []
    monkeypatch.setattr("encloze.progress.note", notes.append)
    recipe.build(Run, tree).run()
    assert [note for note in notes if note.endswith("is already finished")] == notes[:3]


@pytest.mark.slow
def test_unfinished_work_in_a_moved_folder_is_started_over(
    uninterrupted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, finished = uninterrupted
    shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "evaluation")
    with monkeypatch.context() as patch:
        kill_at(patch, "distilled", tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out", **{"stages.distilled.seed": 7}).run()
    (tmp_path / "out").rename(tmp_path / "moved")
    tiny(dataset, tmp_path / "moved", **{"stages.distilled.seed": 7}).run()
    assert not list((tmp_path / "moved").glob("*.checkpoint")) and (tmp_path / "moved" / "evaluation").is_dir()


def test_references_resolve_to_the_settings_of_the_pipeline(dataset: Path, tmp_path: Path) -> None:
    titles = {"type": "titles", "corpus": str(dataset), "min_words": 1}
    stages = {"mined": {"verb": "mine", "dataset": "@dataset"}}
    tree = {"dataset": titles, "output": str(tmp_path / "out"), "stages": stages}
    run: Run = recipe.build(Run, tree)
    assert run.build_stage("mined").dataset == run.dataset
    assert run.resolve("@dataset/queries.jsonl") == f"{dataset}/queries.jsonl"


def test_a_saved_report_can_be_loaded(uninterrupted: tuple[Path, Path]) -> None:
    report = Report.load(uninterrupted[1] / "evaluation")
    assert report.to_markdown() == (uninterrupted[1] / "evaluation" / "report.md").read_text(encoding="utf-8")


def test_the_command_line_shows_the_effect_of_each_stage(
    uninterrupted: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, _ = uninterrupted
    file = tmp_path / "two.yaml"
    judged = {
        "verb": "evaluate",
        "dataset": "@dataset",
        "split": "@split",
        "systems": ["bm25", "@bm25_negatives/run.trec"],
    }
    stages = {"bm25_negatives": {"verb": "mine", "dataset": "@dataset", "split": "@split"}, "evaluation": judged}
    file.write_text(yaml.safe_dump({"verb": "run", "stages": stages}, sort_keys=False), encoding="utf-8")
    arguments = ["--dataset", str(dataset), "--output", str(tmp_path / "out"), "--split", "dev", "--no-report"]
    assert main(["run", str(file), *arguments]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "run compared with bm25: degraded" in output  # its relevant documents were removed


def test_a_pipeline_can_end_with_a_comparison_on_several_data_sets(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(dataset, tmp_path / "other")
    systems = ["bm25", {"type": "bm25", "b": 0.0}, "@bm25_negatives"]
    judged = {"verb": "compare", "dataset": ["@dataset", str(other)], "split": "train", "systems": systems}
    stages = {"bm25_negatives": {"verb": "mine", "dataset": "@dataset"}, "evaluation": judged}
    file = tmp_path / "chain.yaml"
    file.write_text(yaml.safe_dump({"verb": "run", "stages": stages}, sort_keys=False), encoding="utf-8")
    arguments = ["run", str(file), "--dataset", str(dataset), "--output", str(tmp_path / "out")]
    outputs = []
    for more in ([], ["--no-report"]):  # the second run repeats nothing
        assert main([*arguments, *more]) == 0
        outputs.append(" ".join(capsys.readouterr().out.split()))
        monkeypatch.setattr(Command.member("mine"), "run", None)
    for output in outputs:
        assert "bm25_negatives compared with bm25 (b 0): degraded" in output and "minimum detectable" in output


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "stages: is empty"),
        ({"a": {"num_negatives": 3}}, "stages.a: has no verb"),
        ({"a": {"verb": "mien"}}, "stages.a.verb: unknown command 'mien'; did you mean 'mine'"),
        (
            {"a": {"verb": "mine", "dataset": "@dataset", "num_negative": 3}},
            "stages.a.num_negative: unknown setting; did you mean 'num_negatives'",
        ),
        ({"a": {"verb": "mine", "dataset": "@datasett"}}, "@datasett is no earlier stage; did you mean 'dataset'"),
        ({"a": {"verb": "mine", "dataset": "@b"}, "b": {"verb": "mine", "dataset": "@dataset"}}, "@b is no earlier"),
        ({"a/b": {"verb": "mine", "dataset": "@dataset"}}, "a stage name has only letters, digits, - and _"),
        (
            {"model": {"verb": "mine", "dataset": "@dataset"}},
            "is none of dataset, corpus, model, split, keep_only_gains, page",
        ),
    ],
)
def test_faults_of_all_stages_are_reported_before_any_is_run(
    stages: dict[str, Any], message: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as error:
        recipe.build(Run, {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages})
    assert message in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["test", "elsewhere"])
def test_a_missing_split_is_reported_before_any_stage_is_run(missing: str, dataset: Path, tmp_path: Path) -> None:
    (dataset / "qrels" / "test.tsv").unlink(missing_ok=True)
    systems = ["bm25", {"type": "bm25", "tune_on": missing}]
    judged = {"verb": "evaluate", "dataset": "@dataset", "split": "dev", "systems": systems}
    stages = {"bm25_negatives": {"verb": "mine", "dataset": "@dataset"}, "evaluation": judged}
    pipeline = recipe.build(Run, {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages})
    with pytest.raises(DataError, match=f"no judgments for the split '{missing}'"):
        pipeline.run()
    assert not (tmp_path / "out").exists()


def test_a_stage_of_a_recipe_can_be_left_out(dataset: Path, tmp_path: Path, started: list[str]) -> None:
    arguments = ["run", "tiny", "--dataset", str(dataset), "--output", str(tmp_path / "out"), "--no-report"]
    assert main([*arguments, "--stages.evaluation", "null"]) == 0
    assert started == STAGES[:-1]
    with pytest.raises(RecipeError, match="stages.second: @mined is no earlier stage"):
        tiny(dataset, tmp_path / "other", **{"stages.mined": None})


def test_a_folder_with_other_files_is_not_written_to(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("text")
    assert main(["run", "tiny", "--dataset", str(dataset), "--output", str(tmp_path / "mine")]) == 2
    assert "is not empty and is not the output of a pipeline" in capsys.readouterr().err


SHIPPED = [(command, name) for command in ("pretrain", "finetune", "run") for name in recipe.shipped(command)]


@pytest.mark.parametrize(("command", "name"), SHIPPED)
def test_every_shipped_recipe_is_valid(command: str, name: str, dataset: Path, tmp_path: Path) -> None:
    text = recipe.shipped(command)[name].read_text(encoding="utf-8")
    assert text.startswith("# ") and f"encloze {command} {name} " in text and "# Cost" in text
    arguments = {
        "pretrain": ["--corpus", str(dataset), "--model", "minilm"],
        "finetune": ["--dataset", str(dataset), "--model", "minilm"],
        "run": ["--dataset", str(dataset)],
    }
    assert main([command, name, *arguments[command], "--output", str(tmp_path / "out"), "--print-recipe"]) == 0


def test_the_documented_recipes_are_shipped() -> None:
    assert {"cotmae_v2", "retromae", "splade", "bge", "gpl", "hebrew", "student", "tiny"} <= recipe.shipped(
        "run"
    ).keys()


@pytest.mark.parametrize("name", ["hebrew", "retromae", "tiny", "bge", "cotmae_v2", "splade", "gpl", "student"])
def test_recipes_pre_train_the_pooling_that_they_fine_tune(name: str) -> None:
    """A pooling that is not set is that of the initial model, in both stages."""
    file = Path(str(files("encloze.recipes"))) / "run" / f"{name}.yaml"
    stages = yaml.safe_load(file.read_text(encoding="utf-8"))["stages"].values()
    objectives = [stage["objective"] for stage in stages if "objective" in stage]
    bottlenecks = {o.get("bottleneck") for o in objectives if isinstance(o, dict) and o["type"] != "mlm"}
    heads = [head for stage in stages for head in stage.get("heads", ()) if isinstance(head, dict)]
    poolings = {head.get("pooling") for head in heads if head["type"] == "dense"}
    assert (bottlenecks or {None}) == (poolings or {None})

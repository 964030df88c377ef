"""A pipeline of stages: done once, gone on with where it was killed, done again where what it is made from changed."""

from __future__ import annotations

import json
import shutil
import sys
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
from encloze.training.loop import _Loop

STAGES = ["pretrained", "lexical", "first", "mined", "second", "reranker", "scores", "taught", "judged"]
SMALL = {
    **{f"stages.{name}.training": {"steps": 4, "precision": "float32", "save_every": 2}
       for name in ("pretrained", "first", "second", "reranker", "taught")},
    "stages.pretrained.model.tokenizer.vocabulary": 300,
    **{f"stages.{name}.max_document_tokens": 120 for name in ("first", "second", "taught")},
    "stages.scores.precision": "float32",
}  # fmt: skip


def tiny(dataset: Path, output: Path, **more: Any) -> Run:
    """The shipped recipe, with fewer steps."""
    tree = recipe.read("tiny", "run")
    tree.pop("verb")
    flags = {**SMALL, **more}
    values = {path: value if isinstance(value, str) else json.dumps(value) for path, value in flags.items()}
    tree = recipe.apply_flags(tree, [("dataset", str(dataset)), ("output", str(output)), *values.items()])
    made: Run = recipe.build(Run, tree)
    return made


def results(folder: Path) -> dict[str, str]:
    """What each stage came to, by the hashes of the files that do not tell of time or place."""
    kinds = ("model.safetensors", "heads.safetensors", "run.trec", "per_query.tsv")
    return {
        f"{stage}/{name}": entry["sha256"]
        for stage in STAGES
        for name, entry in read_json(folder / stage / MANIFEST)["files"].items()
        if name.endswith(kinds)
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and the pipeline run over it without interruption."""
    import os

    import toys

    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "ENCLOZE_CACHE", str(folder / "cache"))
        dataset = toys.write_dataset(folder / "toys")
        tiny(dataset, folder / "out").run()
    return dataset, folder / "out"


class Killed(BaseException):
    """The process is gone."""


def kill_at(patch: pytest.MonkeyPatch, stage: str, folder: Path) -> None:
    """Let the process go in the middle of a stage: a training after a checkpoint, any other verb at its end."""
    if stage in ("pretrained", "first", "second", "reranker", "taught"):
        step = _Loop.step

        def until_the_fourth(self: _Loop, place: Any, steps: int) -> None:
            if place.step == 3 and (folder / f"{stage}.unfinished").exists():
                raise Killed
            step(self, place, steps)

        patch.setattr(_Loop, "step", until_the_fourth)
        return
    command = {"lexical": "mine", "mined": "mine", "scores": "score", "judged": "evaluate"}[stage]
    kind: Any = Command.member(command)
    run = kind.run

    def before_it_ends(self: Any) -> Any:
        if self.output.name == stage:
            raise Killed
        return run(self)

    patch.setattr(kind, "run", before_it_ends)


BY_DEFAULT = ("mined", "second", "scores")  # a verb that mines, one that trains, one that scores


@pytest.mark.parametrize("stage", [pytest.param(s, marks=[] if s in BY_DEFAULT else pytest.mark.slow) for s in STAGES])
def test_a_pipeline_killed_in_any_stage_goes_on_to_the_same_results(
    stage: str, whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, done = whole
    before = STAGES[: STAGES.index(stage)]
    shutil.copytree(done, tmp_path / "out", ignore=lambda at, names: set(STAGES) - set(before) & set(names))
    file = tmp_path / "out" / "stages.json"
    done_ = {name: key for name, key in json.loads(file.read_text())["done"].items() if name in before}
    file.write_text(json.dumps({"done": done_, "begun": {}}))
    # Stages that are done name the folder of the first run in nothing that counts.
    with monkeypatch.context() as patch:
        kill_at(patch, stage, tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out").run()
    assert not (tmp_path / "out" / stage).exists()
    if stage != "mined":
        monkeypatch.setattr(Run, "_page", lambda self: None)
    found = tiny(dataset, tmp_path / "out").run()
    assert results(tmp_path / "out") == results(done)
    assert found.report is not None and len(found.steps) == 4
    if stage == "mined":
        assert found.page is not None and "second: how it was trained" in found.page.read_text(encoding="utf-8")


def test_what_is_done_is_not_done_again(whole: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, done = whole
    for command in ("pretrain", "mine", "finetune", "finetune_reranker", "score", "evaluate"):
        monkeypatch.setattr(Command.member(command), "run", None)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    heard: list[str] = []
    monkeypatch.setattr("encloze.progress.note", heard.append)
    found = tiny(dataset, done).run()
    assert found.report is not None and found.report.systems[0].name == "bm25"
    assert found.page is None and "No page was made" in heard[-1] and "pip install 'encloze[report]'" in heard[-1]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that are asked to do something; none does, and no page is made of it."""
    stages: list[str] = []
    for command in Command.members():
        monkeypatch.setattr(Command.member(command), "run", lambda self: stages.append(self.output.name))
    monkeypatch.setattr(Run, "_page", lambda self: None)
    return stages


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        ({"stages.reranker.training": {"steps": 3}}, ["reranker", "scores", "taught", "judged"]),
        ({"stages.judged.depth": 50}, ["judged"]),
        ({"stages.mined.keep": 9}, ["mined", "second", "reranker", "scores", "taught", "judged"]),
    ],
)
def test_what_changed_is_done_again_with_all_that_is_made_from_it(
    change: dict[str, Any], again: list[str], whole: tuple[Path, Path], tmp_path: Path, asked: list[str]
) -> None:
    dataset, done = whole
    shutil.copytree(done, tmp_path / "out")
    tiny(dataset, tmp_path / "out", **change).run()
    assert asked == again


def test_other_texts_are_other_inputs(whole: tuple[Path, Path], tmp_path: Path, asked: list[str]) -> None:
    dataset, done = whole
    shutil.copytree(done, tmp_path / "out")
    shutil.copytree(dataset, tmp_path / "toys")
    with (tmp_path / "toys" / "qrels" / "dev.tsv").open("a") as stream:
        stream.write("q-river-history\triver-dangers\t1\n")
    tiny(tmp_path / "toys", tmp_path / "out").run()
    assert asked == STAGES


@pytest.mark.parametrize("change", ["the place of the data", "the place of the output", "what no stage reads"])
def test_what_changes_no_result_does_nothing_again(
    change: str, whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    dataset, done = whole
    shutil.copytree(done, tmp_path / "out")
    shutil.copytree(dataset, tmp_path / "toys")
    monkeypatch.chdir(tmp_path)
    if change == "the place of the data":
        tiny(Path("toys"), tmp_path / "out").run()
    elif change == "the place of the output":
        tiny(dataset, Path("out")).run()
    else:
        tiny(dataset, tmp_path / "out", model=str(dataset)).run()
    assert asked == []


def test_a_stage_that_was_killed_while_it_was_done_again_is_not_taken_for_done(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, done = whole
    shutil.copytree(done, tmp_path / "out")
    with monkeypatch.context() as patch:
        kill_at(patch, "judged", tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out", **{"stages.judged.depth": 50}).run()
    monkeypatch.setattr(Run, "_page", lambda self: None)
    tiny(dataset, tmp_path / "out", **{"stages.judged.depth": 50}).run()
    assert recipe.read(str(tmp_path / "out" / "judged" / "recipe.yaml"), "evaluate")["depth"] == 50


def test_what_other_settings_left_unfinished_is_not_gone_on_with(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, done = whole
    shutil.copytree(done, tmp_path / "out")
    with monkeypatch.context() as patch:
        kill_at(patch, "taught", tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out", **{"stages.taught.seed": 7}).run()
    assert (tmp_path / "out" / "taught.unfinished").is_dir()
    monkeypatch.setattr(Run, "_page", lambda self: None)
    tiny(dataset, tmp_path / "out").run()
    assert results(tmp_path / "out") == results(done)
    assert not (tmp_path / "out" / "taught.unfinished").exists()


@pytest.mark.parametrize("moment", ["as it begins", "as its checkpoint is thrown away", "behind it"])
def test_a_kill_between_two_steps_of_a_stage_is_borne(
    moment: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {
        "first": {"verb": "mine", "dataset": "@dataset", "sources": ["bm25"], "keep": 3},
        "second": {"verb": "mine", "dataset": "@dataset", "sources": ["@first"]},
    }
    tree = {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages}

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "as it begins":
            patch.setattr("encloze.training.state.write_json", killed)
        elif moment == "behind it":
            patch.setattr("encloze.commands.run._Record.finish", killed)
        else:
            patch.setattr(
                "encloze.training.state.shutil.rmtree",
                lambda path, **_: killed() if Path(path).exists() and Path(path).name.endswith("gone") else None,
            )
        with pytest.raises(Killed):
            recipe.build(Run, tree).run()
    assert (tmp_path / "out" / "first").exists() == (moment != "as it begins")
    heard: list[str] = []
    monkeypatch.setattr("encloze.progress.note", heard.append)
    recipe.build(Run, tree).run()
    kept = "Stage 1 of 2, first, is done already" in heard
    assert kept == (moment != "as it begins") and (tmp_path / "out" / "second").is_dir()
    assert not list((tmp_path / "out").glob("*.unfinished"))


def test_what_a_kill_leaves_of_the_record_is_no_other_folder(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".stages.json").write_text('{"beg')
    stages = {"first": {"verb": "mine", "dataset": "@dataset"}}
    recipe.build(Run, {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages}).run()


def test_a_stage_that_names_the_run_of_another_is_done_once(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a folder's name stands for shows when the folder is there: before, it may as well be a model's."""
    stages = {
        "first": {"verb": "mine", "dataset": "@dataset", "sources": ["bm25"], "keep": 3},
        "second": {"verb": "mine", "dataset": "@dataset", "sources": ["@first"]},
        "judged": {"verb": "evaluate", "dataset": "@dataset", "split": "train", "systems": ["bm25", "@first"]},
    }
    tree = {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages}
    found = recipe.build(Run, tree).run()
    assert (found.report.systems[1].values["nDCG@10"] == 0).all()  # all that is relevant is left out
    heard: list[str] = []
    monkeypatch.setattr("encloze.progress.note", heard.append)
    recipe.build(Run, tree).run()
    assert [line for line in heard if line.endswith("is done already")] == heard[:3]


@pytest.mark.slow
def test_what_was_left_unfinished_at_another_place_is_begun_anew(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, done = whole
    shutil.copytree(done, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "judged")
    with monkeypatch.context() as patch:
        kill_at(patch, "taught", tmp_path / "out")
        with pytest.raises(Killed):
            tiny(dataset, tmp_path / "out", **{"stages.taught.seed": 7}).run()
    (tmp_path / "out").rename(tmp_path / "moved")
    tiny(dataset, tmp_path / "moved", **{"stages.taught.seed": 7}).run()
    assert not list((tmp_path / "moved").glob("*.unfinished")) and (tmp_path / "moved" / "judged").is_dir()


def test_a_data_set_keeps_its_settings_in_every_stage(dataset: Path, tmp_path: Path) -> None:
    titles = {"type": "titles", "corpus": str(dataset), "least_words": 1}
    stages = {"mined": {"verb": "mine", "dataset": "@dataset"}}
    tree = {"dataset": titles, "output": str(tmp_path / "out"), "stages": stages}
    run: Run = recipe.build(Run, tree)
    assert run._task("mined").dataset == run.dataset
    assert run._resolved("@dataset/queries.jsonl") == f"{dataset}/queries.jsonl"


def test_a_saved_report_is_read_again(whole: tuple[Path, Path]) -> None:
    report = Report.load(whole[1] / "judged")
    assert report.markdown() == (whole[1] / "judged" / "report.md").read_text(encoding="utf-8")


def test_the_command_line_shows_what_each_stage_brought(
    whole: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, _ = whole
    file = tmp_path / "two.yaml"
    judged = {"verb": "evaluate", "dataset": "@dataset", "split": "@split", "systems": ["bm25", "@lexical/run.trec"]}
    stages = {"lexical": {"verb": "mine", "dataset": "@dataset", "split": "@split"}, "judged": judged}
    file.write_text(yaml.safe_dump({"verb": "run", "stages": stages}, sort_keys=False), encoding="utf-8")
    assert main(["run", str(file), "--dataset", str(dataset), "--output", str(tmp_path / "out"), "--split", "dev"]) == 0
    said = capsys.readouterr().out
    assert "run, against bm25: did harm" in " ".join(said.split())  # what is relevant was taken out of it


def test_a_pipeline_may_end_in_a_comparison_on_several_data_sets(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(dataset, tmp_path / "other")
    systems = ["bm25", {"type": "bm25", "b": 0.0}, "@lexical"]
    judged = {"verb": "compare", "dataset": ["@dataset", str(other)], "split": "train", "systems": systems}
    stages = {"lexical": {"verb": "mine", "dataset": "@dataset"}, "judged": judged}
    file = tmp_path / "chain.yaml"
    file.write_text(yaml.safe_dump({"verb": "run", "stages": stages}, sort_keys=False), encoding="utf-8")
    given = ["run", str(file), "--dataset", str(dataset), "--output", str(tmp_path / "out")]
    told = []
    for _ in range(2):  # the second time nothing is done again
        assert main(given) == 0
        told.append(" ".join(capsys.readouterr().out.split()))
        monkeypatch.setattr(Command.member("mine"), "run", None)
    assert all("lexical, against bm25 (b 0): did harm" in said and "visible from" in said for said in told)


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ({}, "stages: is empty"),
        ({"a": {"keep": 3}}, "stages.a: has no verb"),
        ({"a": {"verb": "mien"}}, "stages.a.verb: there is no verb 'mien'; did you mean 'mine'"),
        (
            {"a": {"verb": "mine", "dataset": "@dataset", "kep": 3}},
            "stages.a.kep: no such setting; did you mean 'keep'",
        ),
        ({"a": {"verb": "mine", "dataset": "@datasett"}}, "@datasett is no earlier stage; did you mean 'dataset'"),
        ({"a": {"verb": "mine", "dataset": "@b"}, "b": {"verb": "mine", "dataset": "@dataset"}}, "@b is no earlier"),
        ({"a/b": {"verb": "mine", "dataset": "@dataset"}}, "a stage's name is letters, digits, - and _"),
        ({"model": {"verb": "mine", "dataset": "@dataset"}}, "none of dataset, corpus, model, split"),
    ],
)
def test_faults_of_all_stages_are_told_before_anything_is_done(
    stages: dict[str, Any], says: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.build(Run, {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages})
    assert says in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["test", "elsewhere"])
def test_a_split_that_is_missing_is_told_before_anything_is_done(missing: str, dataset: Path, tmp_path: Path) -> None:
    (dataset / "qrels" / "test.tsv").unlink(missing_ok=True)
    systems = ["bm25", {"type": "bm25", "tune_on": missing}]
    judged = {"verb": "evaluate", "dataset": "@dataset", "split": "dev", "systems": systems}
    stages = {"lexical": {"verb": "mine", "dataset": "@dataset"}, "judged": judged}
    made = recipe.build(Run, {"dataset": str(dataset), "output": str(tmp_path / "out"), "stages": stages})
    with pytest.raises(DataError, match=f"no judgments for the split '{missing}'"):
        made.run()
    assert not (tmp_path / "out").exists()


def test_a_stage_of_a_recipe_can_be_left_out(dataset: Path, tmp_path: Path, asked: list[str]) -> None:
    given = ["run", "tiny", "--dataset", str(dataset), "--output", str(tmp_path / "out")]
    assert main([*given, "--stages.judged", "null"]) == 0
    assert asked == STAGES[:-1]
    with pytest.raises(RecipeError, match="stages.second: @mined is no earlier stage"):
        tiny(dataset, tmp_path / "other", **{"stages.mined": None})


def test_a_folder_of_something_else_is_left_alone(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert main(["run", "tiny", "--dataset", str(dataset), "--output", str(tmp_path / "mine")]) == 2
    assert "holds something else than a pipeline's stages" in capsys.readouterr().err


SHIPPED = [(command, name) for command in ("pretrain", "finetune", "run") for name in recipe.shipped(command)]


@pytest.mark.parametrize(("verb", "name"), SHIPPED)
def test_every_shipped_recipe_is_sound(command: str, name: str, dataset: Path, tmp_path: Path) -> None:
    text = recipe.shipped(command)[name].read_text(encoding="utf-8")
    assert text.startswith("# ") and f"encloze {command} {name} " in text and "# Costs" in text
    words = {
        "pretrain": ["--corpus", str(dataset), "--model", "minilm"],
        "finetune": ["--dataset", str(dataset), "--model", "minilm"],
        "run": ["--dataset", str(dataset)],
    }
    assert main([command, name, *words[command], "--output", str(tmp_path / "out"), "--print-recipe"]) == 0


def test_the_recipes_asked_for_are_there() -> None:
    assert {"cotmae_v2", "retromae", "splade", "bge", "gpl", "hebrew", "tiny"} <= recipe.shipped("run").keys()

"""The command line on toys: help, recipes, schemas, and searching and measuring from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from encloze.cli.main import main, split
from encloze.commands.base import Command, command
from encloze.commands.index import Index
from encloze.data.runs import read_run
from encloze.family import family_folders, summary_of
from encloze.settings import help_of, hints_of
from encloze.storage.hashes import hash_file, hash_tree
from encloze.storage.manifest import check_manifest

Said = pytest.CaptureFixture[str]

# Which of the settings that are named alike each verb has; a verb that is not here has what it likes.
ALIKE = {
    "pretrain": {"corpus", "model", "output", "seed", "resume"},
    "finetune": {"dataset", "split", "model", "output", "seed", "resume"},
    "index": {"corpus", "dataset", "model", "output", "seed"},
    "evaluate": {"dataset", "split", "model", "index", "output", "seed"},
    "robustness": {"dataset", "split", "output", "seed"},
    "compare": {"dataset", "split", "output", "seed"},
    "merge": {"dataset", "split", "model", "output", "seed"},
    "search": {"index", "model"},
    "inspect": {"corpus", "split", "model", "output", "seed"},
    "again": {"output"},
}


def ok(capsys: Said, *arguments: object) -> str:
    """What a command line that must succeed prints."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out


def squeezed(text: str) -> str:
    """A text without its line breaks and indents."""
    return " ".join(text.split())


@pytest.fixture
def words(tmp_path: Path, dataset: Path, capsys: Said) -> Path:
    """An index of the toys by words."""
    folder = tmp_path / "words"
    ok(capsys, "index", "--corpus", dataset, "--indexes", "bm25", "--output", folder)
    return folder


# Help


def test_help_names_every_verb_with_its_sentence(capsys: Said) -> None:
    said = ok(capsys, "--help")
    assert said == ok(capsys, "-h") == ok(capsys, "help")
    for name in Command.members():
        file = Path(str(sys.modules[Command.package()].__file__)).parent / f"{name}.py"
        assert f"{name:<19} {summary_of(file)}" in said


def test_without_a_verb_the_help_is_shown_and_the_code_is_2(capsys: Said) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("encloze VERB [RECIPE.yaml] [--setting VALUE ...]")


def test_the_version_is_told(capsys: Said) -> None:
    assert ok(capsys, "--version").startswith("encloze 0.")


@pytest.mark.parametrize("name", Command.members())
def test_help_of_a_verb_shows_every_setting_with_its_help(capsys: Said, name: str) -> None:
    said = ok(capsys, name, "--help")
    kind = command(name)
    for setting in hints_of(kind):
        assert f"\n  --{setting}" in said
        assert squeezed(help_of(kind)[setting]) in squeezed(said)
    assert "--print-recipe" in said and max(map(len, said.splitlines())) <= 100
    assert ok(capsys, name, "-h") == said


def test_help_shows_defaults_kinds_choices_and_what_is_required(capsys: Said) -> None:
    said = ok(capsys, "search", "--help")
    assert "--index PATH\n        The index folder. (required)" in said
    assert "--k N\n        How many documents to show. (default: 5)" in said
    assert "--precision auto|float32|bfloat16" in said and "--fusion reciprocal_rank|weighted" in said
    assert "    --fusion.k X" in ok(capsys, "search", "--fusion", "reciprocal_rank", "--help")
    assert said.startswith("encloze search [RECIPE.yaml] [QUERY] [--setting VALUE ...]")


def test_help_shows_the_values_of_a_recipe_and_of_flags_as_defaults(tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("index: my/index\nfusion: {type: weighted, scale: none}\nk: 7\n")
    said = ok(capsys, "search", file, "--k", "9", "--help")
    assert "The index folder. (default: my/index)" in said and "How many documents to show. (default: 9)" in said
    assert "--fusion.scale min_max|none" in said and "(default: none)" in said
    assert "--fusion.k" not in said


def test_help_shows_what_a_recipe_leaves_as_the_verb_has_it(tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {steps: 5}\n")
    said = ok(capsys, "finetune", file, "--help")
    assert "The highest learning rate. (default: 2e-05)" in said
    assert "epochs does not count. (default: 5)" in squeezed(said)


def test_help_survives_a_part_that_does_not_exist(capsys: Said) -> None:
    assert "--precision" in ok(capsys, "search", "--fusion", "wieghted", "--help")


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_what_means_the_same_is_named_the_same(name: str) -> None:
    everything = {"corpus", "dataset", "split", "model", "index", "output", "seed", "resume"}
    assert everything & set(hints_of(command(name))) == ALIKE[name]


# Recipes and schemas


def test_a_printed_recipe_is_complete_and_runs_as_the_flags_did(tmp_path: Path, dataset: Path, capsys: Said) -> None:
    flags = ("--corpus", dataset, "--indexes", "bm25", "--indexes.0.k1", "0.9", "--output", tmp_path / "out")
    printed = ok(capsys, "index", *flags, "--print-recipe")
    assert not (tmp_path / "out").exists()
    read = yaml.safe_load(printed)
    assert read["verb"] == "index" and set(read) == {"verb", *hints_of(Index)}
    file = tmp_path / "mine.yaml"
    file.write_text(printed)
    assert ok(capsys, "index", file, "--print-recipe") == printed
    ok(capsys, "index", file)
    assert (tmp_path / "out" / "recipe.yaml").read_text() == printed


def test_a_printed_recipe_is_checked_first(capsys: Said) -> None:
    assert main(["index", "--sead", "1", "--print-recipe"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "did you mean 'seed'" in captured.err


def test_flags_may_come_before_the_recipe_and_win_over_it(tmp_path: Path, dataset: Path, capsys: Said) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"verb: index\ncorpus: {dataset}\nindexes: bm25\noutput: one\nseed: 1\n")
    for line in ((file, "--output", "two"), ("--output", "two", file), ("--output=two", "--overwrite", file)):
        read = yaml.safe_load(ok(capsys, "index", *line, "--print-recipe"))
        assert read["output"] == "two" and read["seed"] == 1


@pytest.mark.parametrize("name", Command.members())
def test_a_schema_is_json_and_knows_the_settings(capsys: Said, name: str) -> None:
    schema = json.loads(ok(capsys, name, "--print-schema"))
    assert set(schema["properties"]) == {"verb", *hints_of(command(name))}


def test_words_are_settings_without_their_names() -> None:
    assert split(command("search"), ["a river", "--index", "i", "--k=2"]) == (["a river"], [("index", "i"), ("k", "2")])


# List and inspect


def test_list_shows_all_families_and_each_ones_members(capsys: Said) -> None:
    said = ok(capsys, "list")
    assert [line.split()[0] for line in said.splitlines()] == list(family_folders())
    said = ok(capsys, "list", "objectives")
    assert said.startswith("bow") and "RetroMAE" in said and "base" not in said.split()
    assert ok(capsys, "list", "--family", "formats").splitlines()[1].startswith("beir ")


def test_inspect_tells_counts_lengths_duplicates_and_neighbours(dataset: Path, capsys: Said) -> None:
    line = (dataset / "corpus.jsonl").read_text().splitlines()[0]
    copied, empty = json.loads(line) | {"_id": "copy", "doc_id": None}, {"_id": "void", "text": ""}
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.write(json.dumps(copied) + "\n" + json.dumps(empty) + "\n")
    said = ok(capsys, "inspect", "--corpus", dataset)
    assert f"{dataset}: 42 documents, 41 with a title" in said and "1 have no text: void" in said
    assert "Words: " in said
    assert "2 documents have the same text as others, in 1 groups; the largest group: river-history, copy" in said
    assert "40 documents have neighbours, in 10 longer texts" in said
    assert "Judged queries: dev 10, test 10, train 20" in said


def test_inspect_counts_the_tokens_of_a_model_and_recommends_a_limit(dataset: Path, model: Path, capsys: Said) -> None:
    said = ok(capsys, "inspect", "--corpus", dataset, "--model", model)
    assert "Tokens: " in said and " at 64, " in said and "Recommended limit: 64 tokens" in said


# From end to end


def test_index_and_search_by_words(words: Path, capsys: Said) -> None:
    check_manifest(words, contents=True)
    said = ok(capsys, "search", "mending a broken violin", "--index", words, "--k", "2")
    assert said.splitlines()[0].startswith(" 1. violin repair") and "violin-repair" in said
    assert " 2. " in said and " 3. " not in said
    assert ok(capsys, "search", "--index", words, "--query", "zzz") == "Nothing was found.\n"


def test_an_index_of_meaning_and_words_is_searched_by_both_or_one(
    tmp_path: Path, dataset: Path, model: Path, capsys: Said
) -> None:
    folder = tmp_path / "both"
    said = ok(capsys, "index", "--dataset", dataset, "--model", model, "--indexes", "flat,bm25", "--output", folder)
    assert f"40 documents are indexed in {folder} (flat, bm25)" in said
    said = ok(capsys, "search", "violin repair", "--index", folder, "--k", "1")
    assert "(flat " in said and ", bm25 " in said
    weighted = ("--fusion", "weighted", "--fusion.weights", "0,1")
    assert " 1. violin repair" in ok(capsys, "search", "violin repair", "--index", folder, *weighted)
    assert "(flat " not in ok(capsys, "search", "violin repair", "--index", folder, "--views", "bm25")


def test_without_a_query_the_prompt_answers_line_by_line(
    words: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(["violin repair", "comet history", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(asked))
    said = ok(capsys, "search", "--index", words, "--k", "1")
    assert said.startswith("40 documents. An empty line ends.")
    assert " 1. violin repair" in said and " 1. comet history" in said


def test_evaluate_prints_the_table_it_writes(
    tmp_path: Path, dataset: Path, model: Path, words: Path, capsys: Said
) -> None:
    out = tmp_path / "report"
    systems = ("--systems", f"bm25,{words}", "--model", model)
    said = ok(capsys, "evaluate", "--dataset", dataset, *systems, "--measures", "ndcg@10,mrr@10", "--output", out)
    check_manifest(out, contents=True)
    figures = json.loads((out / "report.json").read_text())
    assert [system["name"] for system in figures["systems"]] == ["bm25", "words", "model"]
    assert f"{dataset}, test: 10 queries" in squeezed(said)
    for system in figures["systems"]:
        assert set(system["measures"]) == {"nDCG@10", "RR@10"}
        assert f"{system['measures']['nDCG@10']['mean']:.4f}" in said
    bm25, same, _ = figures["systems"]
    assert bm25["measures"] == same["measures"] and same["against_baseline"]["mean"] == 0
    assert bm25["measures"]["nDCG@10"]["mean"] > 0.9  # titles tell all, and the questions repeat them
    assert len(read_run(out / "runs" / "bm25.trec")) == 10
    assert len((out / "per_query.tsv").read_text().splitlines()) == 11


def test_a_result_says_what_it_was_made_of(dataset: Path, words: Path) -> None:
    recipe = yaml.safe_load((words / "recipe.yaml").read_text())
    assert recipe["verb"] == "index" and recipe["corpus"] == {"type": "beir", "path": str(dataset)}
    inputs = json.loads((words / "inputs.json").read_text())
    assert inputs["working_folder"] == str(Path.cwd())
    assert inputs["inputs"] == {"corpus": {"path": str(dataset), "sha256": hash_tree(dataset)}}
    assert {"python", "encloze", "numpy"} <= set(json.loads((words / "versions.json").read_text()))


def test_a_run_that_was_written_is_a_system_like_others(tmp_path: Path, dataset: Path, capsys: Said) -> None:
    evaluate = ("evaluate", "--dataset", dataset, "--measures", "AP,R@5")
    ok(capsys, *evaluate, "--systems", "bm25", "--output", tmp_path / "one")
    run = tmp_path / "one" / "runs" / "bm25.trec"
    ok(capsys, *evaluate, "--systems", run, "--output", tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "report.json").read_text())["systems"][0] for name in ("one", "two"))
    assert one["measures"] == two["measures"]


def test_evaluate_writes_nothing_where_no_output_is_asked(
    tmp_path: Path, dataset: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "nDCG@10" in ok(capsys, "evaluate", "--dataset", dataset, "--systems", "bm25", "--split", "dev")
    assert list((tmp_path / "here").iterdir()) == []


def test_again_repeats_an_evaluation_to_the_last_digit(tmp_path: Path, dataset: Path, capsys: Said) -> None:
    first, second = tmp_path / "first", tmp_path / "first-again"
    ok(capsys, "evaluate", "--dataset", dataset, "--systems", "bm25", "--split", "dev", "--output", first)
    ok(capsys, "rerun", first)
    for name in ("per_query.tsv", "runs/bm25.trec", "inputs.json"):
        assert hash_file(first / name) == hash_file(second / name)
    one, two = (yaml.safe_load((folder / "recipe.yaml").read_text()) for folder in (first, second))
    assert one | {"output": None} == two | {"output": None} and two["output"] == str(second)


def test_again_names_what_changed_since(tmp_path: Path, dataset: Path, words: Path, capsys: Said) -> None:
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "new", "text": "something new"}\n')
    versions = json.loads((words / "versions.json").read_text())
    (words / "versions.json").write_text(json.dumps(versions | {"numpy": "0.1"}))
    assert main(["rerun", str(words), "--output", str(tmp_path / "newer")]) == 0
    captured = capsys.readouterr()
    said = squeezed(captured.err)
    assert f"the corpus {dataset} is not what it was when {words} was made" in said and "numpy 0.1 -> " in said
    assert "something new" in ok(capsys, "search", "something new", "--index", tmp_path / "newer")


def test_the_program_runs_by_its_module_and_its_output_can_be_cut(words: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "encloze", "search", "violin repair", "--index", str(words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0 and done.stdout.startswith(" 1. violin repair") and done.stderr == ""
    cut = subprocess.run(
        f"{sys.executable} -m encloze search violin --index {words} | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert cut.stdout == " " and "Traceback" not in cut.stderr

"""The command line on toy data: help, completion, recipes, schemas, and building, searching and evaluating indexes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from encloze.cli.main import main, split_arguments
from encloze.cli.usage import grouped_commands
from encloze.commands.base import Command, get_command
from encloze.commands.index import Index
from encloze.data.runs import read_run
from encloze.family import family_folders, summary_of
from encloze.settings import help_of, hints_of
from encloze.storage.hashes import hash_file, hash_tree
from encloze.storage.manifest import check_manifest

Output = pytest.CaptureFixture[str]

# Common settings of each command; commands that are not listed may have any.
COMMON_SETTINGS = {
    "pretrain": {"corpus", "model", "output", "seed", "resume"},
    "finetune": {"dataset", "split", "model", "output", "seed", "resume"},
    "index": {"corpus", "dataset", "model", "output", "seed"},
    "evaluate": {"dataset", "split", "model", "index", "output", "seed"},
    "robustness": {"dataset", "split", "output", "seed"},
    "compare": {"dataset", "split", "output", "seed"},
    "merge": {"dataset", "split", "model", "output", "seed"},
    "search": {"index", "model"},
    "inspect": {"corpus", "split", "model", "output", "seed"},
    "rerun": {"output"},
}


def ok(capsys: Output, *arguments: object) -> str:
    """Run a command line that must succeed and return its output."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out


def squeezed(text: str) -> str:
    """Return a text without line breaks and indents."""
    return " ".join(text.split())


@pytest.fixture
def words(tmp_path: Path, dataset: Path, capsys: Output) -> Path:
    """A BM25 index of the toy data."""
    folder = tmp_path / "words"
    ok(capsys, "index", "--corpus", dataset, "--indexes", "bm25", "--output", folder)
    return folder


# Help


def test_help_lists_every_command_with_its_description_in_groups(capsys: Output) -> None:
    text = ok(capsys, "--help")
    assert text == ok(capsys, "-h") == ok(capsys, "help")
    assert text.startswith("Train, evaluate and serve retrieval models on your own text.\n")
    folder = Path(str(sys.modules[Command.package()].__file__)).parent
    for name in Command.members():
        assert f"\n  {name:<19} {summary_of(folder / f'{name}.py').rstrip('.')}\n" in text  # on one line
    groups = grouped_commands()
    assert sorted(name for names in groups.values() for name in names) == Command.members()
    assert "Other" not in groups and groups["Train"][:2] == ["pretrain", "finetune"]
    assert max(map(len, text.splitlines())) <= 104


def test_help_imports_no_heavy_package() -> None:
    code = "import sys; from encloze.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "pandas", "pydantic", "numpy", "faiss", "rich", "matplotlib"}
    assert not heavy & set(done.stderr.split())


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_2(capsys: Output) -> None:
    assert main([]) == 2
    assert "encloze COMMAND [RECIPE.yaml] [--setting VALUE ...]" in capsys.readouterr().out


def test_the_version_is_printed(capsys: Output) -> None:
    assert ok(capsys, "--version").startswith("encloze 0.")


def test_help_of_a_command_lists_every_setting_with_its_description(capsys: Output) -> None:
    for name in Command.members():
        text, kind = ok(capsys, name, "--help"), get_command(name)
        for setting in hints_of(kind):
            assert f"\n  --{setting}" in text, (name, setting)
            assert squeezed(help_of(kind)[setting]) in squeezed(text), (name, setting)
        assert "--print-recipe" in text and max(map(len, text.splitlines())) <= 100, name
        assert ">>>" not in text, name
        assert ok(capsys, name, "-h") == text


def test_help_shows_defaults_types_choices_and_required_settings(capsys: Output) -> None:
    text = ok(capsys, "search", "--help")
    assert "--index PATH\n        Index folder to search, written by the command index. (required)" in text
    assert "--k N\n        Number of documents to return. (default: 5)" in text
    assert "--precision auto|float32|bfloat16" in text and "--fusion reciprocal_rank|weighted" in text
    assert "    --fusion.k X" in ok(capsys, "search", "--fusion", "reciprocal_rank", "--help")
    assert text.startswith("encloze search [RECIPE.yaml] [QUERY] [--setting VALUE ...]")


def test_help_shows_the_values_of_a_recipe_and_of_arguments_as_defaults(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("index: my/index\nfusion: {type: weighted, normalization: none}\nk: 7\n")
    text = ok(capsys, "search", file, "--k", "9", "--help")
    assert (
        "Index folder to search, written by the command index. (default: my/index)" in text
        and "documents to return. (default: 9)" in text
    )
    assert "--fusion.normalization softmax|z_score|min_max|none" in text and "(default: none)" in text
    assert "--fusion.k" not in text


def test_help_shows_the_defaults_of_the_command_for_settings_that_a_recipe_omits(
    tmp_path: Path, capsys: Output
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {steps: 5}\n")
    text = ok(capsys, "finetune", file, "--help")
    assert "Peak learning rate of AdamW. (default: 2e-05)" in text
    assert "overrides epochs. (default: 5)" in squeezed(text)


def test_help_does_not_fail_for_an_unknown_member(capsys: Output) -> None:
    assert "--precision" in ok(capsys, "search", "--fusion", "wieghted", "--help")


def test_settings_with_the_same_meaning_have_the_same_name() -> None:
    common = {"corpus", "dataset", "split", "model", "index", "output", "seed", "resume"}
    for name, expected in COMMON_SETTINGS.items():
        assert common & set(hints_of(get_command(name))) == expected, name


# Hyphens and shell completion


def test_commands_and_settings_may_be_typed_with_hyphens(tmp_path: Path, dataset: Path, capsys: Output) -> None:
    settings = {"dataset": dataset, "negatives": "n", "model": "m", "output": "o", "training.save_steps": 7}
    printed = set()
    for separator in "-_":
        pairs = [(f"--{name.replace('_', separator)}", value) for name, value in settings.items()]
        line = [part for pair in pairs for part in pair]
        printed.add(ok(capsys, f"finetune{separator}reranker", *line, "--print-recipe"))
    (recipe,) = printed
    assert yaml.safe_load(recipe)["training"]["save_steps"] == 7
    flags = ("--dataset", dataset, "--output", "o", "--print-recipe")
    assert ok(capsys, "run", "cotmae-v2", *flags) == ok(capsys, "run", "cotmae_v2", *flags)


COMPLETE = """source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _encloze; echo "${{COMPREPLY[@]}}"
"""


def test_bash_completes_commands_settings_choices_and_recipes(tmp_path: Path, capsys: Output) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(ok(capsys, "--print-completion", "bash"), encoding="utf-8")
    cases = {
        "fine": "finetune finetune_classifier finetune_reranker",
        "finetune-re": "finetune-reranker",
        "--print-completion z": "zsh",
        "pretrain ret": "retromae",  # a shipped recipe
        "list obj": "objectives",
        "pretrain --training.sa": "--training.save_steps",
        "pretrain --training.save-": "--training.save-steps",
        "finetune-reranker --ou": "--output",
        "pretrain --objective dup": "dupmae",
        "pretrain --objective = dup": "dupmae",  # --objective=dup, as readline splits it
        "evaluate --systems bm25,hy": "bm25,hybrid",
        "search --fusion w": "weighted",
        "pretrain --corpus some/path": "",  # bash completes file names
    }
    commands = [COMPLETE.format(script=script, words=f"encloze {words}") for words in cases]
    done = subprocess.run(["bash", "-c", "".join(commands)], capture_output=True, text=True, check=True)
    assert dict(zip(cases, done.stdout.splitlines(), strict=True)) == cases and done.stderr == ""


def test_completion_scripts_for_other_shells(capsys: Output) -> None:
    assert "bashcompinit" in ok(capsys, "--print-completion=zsh")
    fish = ok(capsys, "--print_completion", "fish")
    assert "complete -c encloze -n '__fish_seen_subcommand_from search' -l precision -x -a 'auto float32" in fish
    assert main(["--print-completion", "tcsh"]) == 2
    assert "unknown shell 'tcsh'. Use: encloze --print-completion bash|zsh|fish" in capsys.readouterr().err


# Recipes and schemas


def test_a_printed_recipe_is_complete_and_equivalent_to_the_arguments(
    tmp_path: Path, dataset: Path, capsys: Output
) -> None:
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


def test_a_recipe_is_validated_before_it_is_printed(capsys: Output) -> None:
    assert main(["index", "--sead", "1", "--print-recipe"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "did you mean 'seed'" in captured.err


def test_arguments_override_the_recipe_in_any_order(tmp_path: Path, dataset: Path, capsys: Output) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"verb: index\ncorpus: {dataset}\nindexes: bm25\noutput: one\nseed: 1\n")
    for line in ((file, "--output", "two"), ("--output", "two", file), ("--output=two", "--overwrite", file)):
        read = yaml.safe_load(ok(capsys, "index", *line, "--print-recipe"))
        assert read["output"] == "two" and read["seed"] == 1


def test_a_schema_is_json_with_all_settings(capsys: Output) -> None:
    for name in Command.members():
        schema = json.loads(ok(capsys, name, "--print-schema"))
        assert set(schema["properties"]) == {"verb", *hints_of(get_command(name))}, name


def test_positional_arguments_are_settings_without_their_names() -> None:
    arguments = ["a river", "--index", "i", "--k=2"]
    assert split_arguments(get_command("search"), arguments) == (["a river"], [("index", "i"), ("k", "2")])


# list and inspect


def test_list_shows_all_families_and_the_members_of_one(capsys: Output) -> None:
    output = ok(capsys, "list")
    assert [line.split()[0] for line in output.splitlines()] == list(family_folders())
    output = ok(capsys, "list", "objectives")
    names = [line.split()[0] for line in output.splitlines()]
    assert names[0] == "bow" and "base" not in names and "RetroMAE" in output
    assert ok(capsys, "list", "--family", "formats").splitlines()[0].startswith("beir ")


def test_inspect_prints_counts_lengths_duplicates_and_neighbors(dataset: Path, capsys: Output) -> None:
    line = (dataset / "corpus.jsonl").read_text().splitlines()[0]
    copied, empty = json.loads(line) | {"_id": "copy", "doc_id": None}, {"_id": "void", "text": ""}
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.write(json.dumps(copied) + "\n" + json.dumps(empty) + "\n")
    output = squeezed(ok(capsys, "inspect", "--corpus", dataset))
    for row in (
        "documents 42 ",
        "documents with a title 41",
        "documents without text 1",
        "documents with duplicates 2",
        "documents with neighbors in their source 40",
        "sources 10",
        "judged queries of train 20",
        "largest group of duplicates: river-history, copy",
        "documents without text: void",
    ):
        assert row in output, row


def test_inspect_counts_the_tokens_of_a_model_and_recommends_a_limit(
    dataset: Path, model: Path, capsys: Output
) -> None:
    output = ok(capsys, "inspect", "--corpus", dataset, "--model", model)
    assert "  tokens  " in output and "recommended limit: 64 tokens" in output and " per word, " in output


# index, search and evaluate


def test_build_and_search_a_bm25_index(words: Path, capsys: Output) -> None:
    check_manifest(words, contents=True)
    output = ok(capsys, "search", "mending a broken violin", "--index", words, "--k", "2")
    assert output.splitlines()[0].startswith(" 1. violin repair") and "violin-repair" in output
    assert " 2. " in output and " 3. " not in output
    assert ok(capsys, "search", "--index", words, "--query", "zzz") == "No document matches the query.\n"


def test_an_index_with_two_views_is_searched_by_both_or_by_one(
    tmp_path: Path, dataset: Path, model: Path, capsys: Output
) -> None:
    folder = tmp_path / "both"
    output = ok(capsys, "index", "--dataset", dataset, "--model", model, "--indexes", "flat,bm25", "--output", folder)
    assert f"Indexed 40 documents in {folder} (flat, bm25)" in output
    output = ok(capsys, "search", "violin repair", "--index", folder, "--k", "1")
    assert "(flat " in output and ", bm25 " in output
    weighted = ("--fusion", "weighted", "--fusion.weights", "0,1")
    assert " 1. violin repair" in ok(capsys, "search", "violin repair", "--index", folder, *weighted)
    assert "(flat " not in ok(capsys, "search", "violin repair", "--index", folder, "--views", "bm25")


def test_without_a_query_queries_are_read_from_the_terminal(
    words: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = iter(["violin repair", "comet history", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(queries))
    output = ok(capsys, "search", "--index", words, "--k", "1")
    assert output.startswith("Searching 40 documents. Enter an empty line to quit.")
    assert " 1. violin repair" in output and " 1. comet history" in output


def test_evaluate_prints_the_table_that_it_writes(
    tmp_path: Path, dataset: Path, model: Path, words: Path, capsys: Output
) -> None:
    out = tmp_path / "report"
    systems = ("--systems", f"bm25,{words}", "--model", model)
    output = ok(capsys, "evaluate", "--dataset", dataset, *systems, "--measures", "ndcg@10,mrr@10", "--output", out)
    check_manifest(out, contents=True)
    figures = json.loads((out / "report.json").read_text())
    assert [system["name"] for system in figures["systems"]] == ["bm25", "words", "model"]
    assert f"{dataset}, test: 10 queries" in squeezed(output)
    for system in figures["systems"]:
        assert set(system["measures"]) == {"nDCG@10", "RR@10"}
        assert f"{system['measures']['nDCG@10']['mean']:.4f}" in output
    bm25, same, _ = figures["systems"]
    assert bm25["measures"] == same["measures"] and same["against_baseline"]["mean"] == 0
    assert bm25["measures"]["nDCG@10"]["mean"] > 0.9  # the questions repeat the titles
    assert len(read_run(out / "runs" / "bm25.trec")) == 10
    assert len((out / "per_query.tsv").read_text().splitlines()) == 11


def test_a_result_contains_its_recipe_inputs_and_versions(dataset: Path, words: Path) -> None:
    recipe = yaml.safe_load((words / "recipe.yaml").read_text())
    assert recipe["verb"] == "index" and recipe["corpus"] == {"type": "beir", "path": str(dataset)}
    inputs = json.loads((words / "inputs.json").read_text())
    assert inputs["working_folder"] == str(Path.cwd())
    assert inputs["inputs"] == {"corpus": {"path": str(dataset), "sha256": hash_tree(dataset)}}
    assert {"python", "encloze", "numpy"} <= set(json.loads((words / "versions.json").read_text()))


def test_a_run_that_evaluate_wrote_is_a_system(tmp_path: Path, dataset: Path, capsys: Output) -> None:
    evaluate = ("evaluate", "--dataset", dataset, "--measures", "AP,R@5")
    ok(capsys, *evaluate, "--systems", "bm25", "--output", tmp_path / "one")
    run = tmp_path / "one" / "runs" / "bm25.trec"
    ok(capsys, *evaluate, "--systems", run, "--output", tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "report.json").read_text())["systems"][0] for name in ("one", "two"))
    assert one["measures"] == two["measures"]


def test_evaluate_writes_nothing_without_an_output(
    tmp_path: Path, dataset: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "nDCG@10" in ok(capsys, "evaluate", "--dataset", dataset, "--systems", "bm25", "--split", "dev")
    assert list((tmp_path / "here").iterdir()) == []


def test_rerun_reproduces_an_evaluation_to_the_last_digit(tmp_path: Path, dataset: Path, capsys: Output) -> None:
    first, second = tmp_path / "first", tmp_path / "first-rerun"
    ok(capsys, "evaluate", "--dataset", dataset, "--systems", "bm25", "--split", "dev", "--output", first)
    ok(capsys, "rerun", first)
    for name in ("per_query.tsv", "runs/bm25.trec", "inputs.json"):
        assert hash_file(first / name) == hash_file(second / name)
    one, two = (yaml.safe_load((folder / "recipe.yaml").read_text()) for folder in (first, second))
    assert one | {"output": None} == two | {"output": None} and two["output"] == str(second)


def test_rerun_warns_of_changed_inputs_and_versions(tmp_path: Path, dataset: Path, words: Path, capsys: Output) -> None:
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "new", "text": "something new"}\n')
    versions = json.loads((words / "versions.json").read_text())
    (words / "versions.json").write_text(json.dumps(versions | {"numpy": "0.1"}))
    assert main(["rerun", str(words), "--output", str(tmp_path / "newer")]) == 0
    captured = capsys.readouterr()
    output = squeezed(captured.err)
    assert f"the corpus {dataset} has changed since {words} was written" in output and "numpy 0.1 -> " in output
    assert "something new" in ok(capsys, "search", "something new", "--index", tmp_path / "newer")


def test_the_program_runs_as_a_module_and_its_output_may_be_truncated(words: Path) -> None:
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

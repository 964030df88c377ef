"""Invalid input ends with one clear message and exit code 2, and leaves no partial output."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import toys
from encloze.backbones.base import Backbone
from encloze.cli.main import main

Check = Callable[..., str]
FullDisk = Callable[[int], AbstractContextManager[None]]


def listing(folder: Path) -> dict[str, float]:
    """Return all paths below a folder, hidden ones included, with the modification times of files.

    The memories of checks and checksums in the cache are left out: they grow when files are read.
    """
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns if path.is_file() else 0
        for path in folder.rglob("*")
        if not {"verified.txt", "content_checksums"} & {*path.relative_to(folder).parts}
    }


@pytest.fixture
def refused(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run a command line that must be refused, and return the error message."""

    def run(*arguments: object, says: tuple[str, ...]) -> str:
        capsys.readouterr()
        before = listing(tmp_path)
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        said = captured.err[captured.err.index("encloze: ") :]
        assert code == 2
        assert "Traceback" not in captured.out + captured.err
        for words in says:
            assert words in said
        assert listing(tmp_path) == before, "files were left or changed"
        assert not list(cache.rglob(".*")), "files were left in the cache"
        return said

    return run


def append(file: Path, *lines: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def other_model(folder: Path) -> Path:
    """Write a model folder whose weights differ from those of the toy model."""
    toys.write_model(folder)
    toys.backbone(toys.tokenizer().vocab_size, seed=1).save(folder)
    return folder


# Files

INVALID = {
    "invalid JSON": ('{"_id": "x", "text": ', ("corpus.jsonl:41: invalid JSON: ", "column")),
    "not an object": ("[1, 2]", ("corpus.jsonl:41: expected a JSON object, found list",)),
    "a missing text": ('{"_id": "x", "body": "y"}', ('corpus.jsonl:41: missing field "text" (fields: "_id", "body")',)),
    "a missing id": ('{"text": "y"}', ('corpus.jsonl:41: missing field "_id"',)),
    "text of another type": ('{"_id": "x", "text": ["y"]}', ('corpus.jsonl:41: "text" must be text, found list',)),
    "a duplicate id": ('{"_id": "comet-repair", "text": "y"}', ("duplicate document id 'comet-repair'",)),
    "an unpaired surrogate": (
        r'{"_id": "x", "text": "\udc00"}',
        ("corpus.jsonl:41: invalid JSON: unpaired surrogate",),
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_document_stops_indexing(tmp_path: Path, dataset: Path, refused: Check, case: str) -> None:
    line, says = INVALID[case]
    append(dataset / "corpus.jsonl", line)
    refused("index", "--corpus", dataset, "--indexes", "bm25", "--output", tmp_path / "out", says=says)


TRAINING = {"pretrain": ["--objective", "retromae", "--corpus"], "finetune": ["--dataset"]}


@pytest.mark.parametrize("verb", TRAINING)
def test_invalid_documents_stop_training(
    tmp_path: Path, dataset: Path, model: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    append(dataset / "corpus.jsonl", "{broken", '{"_id": "comet-repair", "text": "y"}')
    assert main([verb, *TRAINING[verb], str(dataset), "--model", str(model), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert (
        "2 errors:" in said
        and "corpus.jsonl:41: invalid JSON" in said
        and "duplicate document id 'comet-repair'" in said
    )
    assert not (tmp_path / "out").exists() and "Traceback" not in said


@pytest.mark.parametrize("verb", TRAINING)
def test_a_training_that_cannot_start_leaves_no_files(
    tmp_path: Path, dataset: Path, model: Path, refused: Check, verb: str
) -> None:
    append(dataset / "corpus.jsonl", "{broken")
    train = (verb, *TRAINING[verb], dataset, "--model", model, "--output", tmp_path / "out")
    refused(*train, says=("corpus.jsonl:41: invalid JSON",))


def test_an_invalid_document_stops_evaluation_and_inspection(tmp_path: Path, dataset: Path, refused: Check) -> None:
    append(dataset / "corpus.jsonl", "{broken")
    says = ("1 error:", "corpus.jsonl:41: invalid JSON")
    refused("evaluate", "--dataset", dataset, "--systems", "bm25", "--output", tmp_path / "out", says=says)
    refused("inspect", "--corpus", dataset, says=says)


def test_all_errors_are_listed_up_to_a_limit(tmp_path: Path, dataset: Path, refused: Check) -> None:
    append(dataset / "corpus.jsonl", *["{broken"] * 25)
    said = refused(
        "index", "--corpus", dataset, "--indexes", "bm25", "--output", tmp_path / "out", says=("25 errors:", "5 more")
    )
    assert said.count("invalid JSON") == 20 and "corpus.jsonl:60" in said and "corpus.jsonl:61" not in said


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("queries.jsonl", '{"_id": "x"}', 'queries.jsonl:41: missing field "text"'),
        (
            "queries.jsonl",
            '{"_id": "q-comet-repair", "text": "y"}',
            "queries.jsonl:41: duplicate query id 'q-comet-repair'",
        ),
        ("qrels/test.tsv", "q-comet-repair\tcomet-repair\tvery", "test.tsv:12: the grade must be an integer"),
        ("qrels/test.tsv", "q-comet-repair comet repair 1", "test.tsv:12: expected 3 columns, found 4"),
        ("qrels/test.tsv", "q-library-repair\tlibrary-repair\t2", "document 'library-repair' has two grades"),
    ],
)
def test_invalid_queries_and_judgments_stop_evaluation(
    tmp_path: Path, dataset: Path, refused: Check, file: str, line: str, says: str
) -> None:
    append(dataset / file, line)
    refused("evaluate", "--dataset", dataset, "--systems", "bm25", "--output", tmp_path / "out", says=(says,))


def test_an_empty_file_is_named(tmp_path: Path, dataset: Path, refused: Check) -> None:
    (tmp_path / "empty.jsonl").touch()
    (dataset / "corpus.jsonl").write_text("")
    index = ("index", "--indexes", "bm25", "--output", tmp_path / "out")
    refused(*index, "--corpus", tmp_path / "empty.jsonl", says=("empty.jsonl: the file is empty",))
    refused(*index, "--corpus", dataset, says=(f"{dataset} contains no documents",))


def test_an_empty_run_is_named(tmp_path: Path, dataset: Path, refused: Check) -> None:
    (tmp_path / "mine.trec").touch()
    refused(
        "evaluate", "--dataset", dataset, "--systems", tmp_path / "mine.trec", says=("mine.trec: the run is empty",)
    )


def test_an_invalid_run_stops_a_comparison_with_all_its_errors(tmp_path: Path, dataset: Path, refused: Check) -> None:
    lines = ["q-comet-repair Q0 a 1 nan x", "q-comet-repair Q0 b 1 2 x", "q-comet-repair Q0 b 2 1 x"]
    (tmp_path / "mine.trec").write_text("\n".join(lines) + "\n")
    systems = ("--systems", f"bm25,{tmp_path / 'mine.trec'}", "--output", tmp_path / "out")
    says = (
        "2 errors:",
        "mine.trec:1: the score must be a finite number, found 'nan'",
        "mine.trec:3: document 'b' is ranked twice",
    )
    refused("compare", "--dataset", dataset, *systems, says=says)


def test_a_run_of_another_data_set_is_named_with_the_data_set(tmp_path: Path, dataset: Path, refused: Check) -> None:
    (tmp_path / "mine.trec").write_text("q1 Q0 a 1 2 x\nq2 Q0 a 1 2 x\n")
    systems = ("--systems", f"bm25,{tmp_path / 'mine.trec'}", "--output", tmp_path / "out")
    says = (
        "mine.trec: none of its 2 queries is judged in the split 'test' of ",
        "(first query of the run: 'q1', first judged query: 'q-",
    )
    refused("compare", "--dataset", f"{dataset},{dataset}", *systems, says=says)


def test_a_comparison_without_systems_or_with_a_missing_split_is_refused(
    tmp_path: Path, dataset: Path, refused: Check
) -> None:
    other = toys.write_dataset(tmp_path / "other")
    (other / "qrels" / "test.tsv").unlink()
    compare = ("compare", "--dataset", f"{dataset},{other}", "--output", tmp_path / "out")
    refused(*compare, says=("systems is empty. Name at least one",))
    refused(*compare, "--systems", "bm25", "--equivalence_margin", "0", says=("margin must be above 0",))
    says = ("no judgments for the split 'test'", "Its splits are: dev, train")
    assert "Evaluating" not in refused(*compare, "--systems", "bm25", says=says)
    says = ("unknown expansion 'rm33'; did you mean 'rm3'?",)
    refused(*compare, "--systems", "[{type: bm25, expansion: rm33}]", says=says)


def test_an_unknown_data_set_is_refused_with_the_known_formats(tmp_path: Path, refused: Check) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    says = ("photos has no known format (the folder contains cat.jpg)", "Give a folder in BEIR layout")
    refused("index", "--corpus", tmp_path / "photos", "--indexes", "bm25", "--output", tmp_path / "out", says=says)
    refused("inspect", "--corpus", tmp_path / "nowhere", says=("nowhere: there is no such file or folder",))


def test_text_that_is_not_utf8_and_corrupt_gzip_are_named(tmp_path: Path, refused: Check) -> None:
    (tmp_path / "a.tsv").write_bytes("1\tgrün\n2\tcafé\n".encode("latin-1"))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 9)[:-9])
    index = ("index", "--indexes", "bm25", "--output", tmp_path / "out")
    refused(*index, "--corpus", tmp_path / "a.tsv", says=("a.tsv:1: not UTF-8 text", "Convert the file to UTF-8"))
    refused(*index, "--corpus", tmp_path / "b.jsonl.gz", says=("corrupt gzip data", "Download the file again"))


def test_a_missing_split_is_refused_with_the_existing_ones(tmp_path: Path, dataset: Path, refused: Check) -> None:
    says = ("no judgments for the split 'tets'", "Its splits are: dev, test, train")
    evaluate = ("evaluate", "--dataset", dataset, "--systems", "bm25", "--output", tmp_path / "out")
    refused(*evaluate, "--split", "tets", says=says)


# Settings


def test_an_unknown_objective_is_refused_with_the_closest_name(
    tmp_path: Path, dataset: Path, model: Path, refused: Check
) -> None:
    says = ("objective: unknown objective 'retromea'; did you mean 'retromae'? known: ",)
    pretrain = ("pretrain", "--corpus", dataset, "--model", model, "--output", tmp_path / "out")
    refused(*pretrain, "--objective", "retromea", says=says)


def test_misspelled_settings_in_the_recipe_and_in_the_arguments_are_both_reported(
    tmp_path: Path, dataset: Path, refused: Check
) -> None:
    file = tmp_path / "index.yaml"
    file.write_text(f"verb: index\ncorpus: {dataset}\nindexes: [{{type: bm25, k11: 2}}]\noutput: {tmp_path / 'out'}\n")
    said = refused(
        "index",
        file,
        "--sead",
        "3",
        says=(
            f"the recipe {file} with the command line has 2 errors:",
            "indexes[0].k11: unknown setting; did you mean 'k1' (",
            "sead: unknown setting; did you mean 'seed' (",
        ),
    )
    assert len(said.splitlines()) == 3


def test_invalid_values_are_reported_together(tmp_path: Path, dataset: Path, refused: Check) -> None:
    refused(
        "evaluate",
        *("--dataset", dataset, "--systems", "bm25", "--depth", "many", "--seed", "1.5", "--overwrite=perhaps"),
        *("--output", tmp_path / "out"),
        says=("3 errors:", "depth: ", "'many'", "seed: ", "'1.5'", "overwrite: ", "'perhaps'"),
    )


def test_a_recipe_for_another_command_is_refused(tmp_path: Path, refused: Check) -> None:
    file = tmp_path / "index.yaml"
    file.write_text("verb: index\n")
    refused("evaluate", file, says=("verb: the recipe is for 'index'. Use: encloze index ...",))


def test_an_invalid_or_missing_recipe_is_named(tmp_path: Path, refused: Check) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("corpus: [a\nb: c\n")
    refused("index", file, says=(f"the recipe {file}", "line 2, column", "invalid YAML"))
    refused("index", tmp_path / "none.yaml", says=("none.yaml", "cannot be read: No such file or directory"))


def test_an_unknown_command_is_refused_with_the_closest_name(refused: Check) -> None:
    refused("evalute", says=("unknown command 'evalute'; did you mean 'evaluate'? known: add, ca",))


def test_unexpected_arguments_are_named(refused: Check) -> None:
    refused(
        "index",
        "here",
        says=("unexpected argument 'here'. Write settings as --setting VALUE; encloze index --help lists them",),
    )
    refused("search", "one", "two", "--index", "i", says=("unexpected argument 'two'",))


def test_unknown_families_measures_and_stemmers_are_refused(dataset: Path, refused: Check) -> None:
    refused("list", "objectivs", says=("unknown family 'objectivs'; did you mean 'objectives'?",))
    evaluate = ("evaluate", "--dataset", dataset)
    refused(*evaluate, "--systems", "bm25", "--measures", "nDGC@10", says=("unknown measure 'nDGC@10'", "nDCG@10"))
    says = ("systems[0].analyzer", "no stemmer for 'klingon'")
    refused(*evaluate, "--systems.0", "bm25", "--systems.0.analyzer", "{type: stemmed, language: klingon}", says=says)


def test_missing_settings_are_named(tmp_path: Path, dataset: Path, refused: Check) -> None:
    refused("finetune", says=("3 errors", "dataset: is required", "model: is required", "output: is required"))
    index = ("index", "--corpus", dataset, "--output", tmp_path / "out")
    refused(*index, says=("give a model, or indexes that need none, as in --indexes bm25",))
    refused(
        *index,
        "--indexes",
        "flat",
        says=("model is required: a model computes what the index flat is built from",),
    )
    refused(*index[:1], *index[3:], "--indexes", "bm25", says=("give either a corpus or a dataset",))


# Folders


def test_an_existing_output_is_not_changed(tmp_path: Path, dataset: Path, refused: Check) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    says = ("out exists already. Choose another --output, or give --overwrite",)
    out = ("--output", tmp_path / "out")
    refused("index", "--corpus", dataset, "--indexes", "bm25", *out, says=says)
    refused("evaluate", "--dataset", dataset, "--systems", "bm25", *out, says=says)


def test_overwrite_keeps_the_earlier_result_if_the_new_one_fails(tmp_path: Path, dataset: Path, refused: Check) -> None:
    command = ["index", "--corpus", dataset, "--indexes", "bm25", "--output", tmp_path / "out"]
    assert main([str(part) for part in command]) == 0
    append(dataset / "corpus.jsonl", "{broken")
    refused(*command, "--overwrite", says=("corpus.jsonl:41",))


def test_overwrite_refuses_folders_that_encloze_did_not_write(tmp_path: Path, dataset: Path, refused: Check) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "precious.txt").write_text("mine")
    out = ("--output", tmp_path / "thesis", "--overwrite")
    says = ("thesis was not written by encloze", "Choose another --output")
    refused("index", "--corpus", dataset, "--indexes", "bm25", *out, says=says)


def test_a_full_disk_during_training_leaves_no_partial_output(
    tmp_path: Path, dataset: Path, model: Path, full_disk: FullDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--training.steps", "4", "--training.save_steps", "2", "--training.precision", "float32"]
    settings += ["--corpus", str(dataset), "--model", str(model), "--objective", "retromae"]
    with full_disk(60_000):
        assert main(["pretrain", *settings, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "the disk is full" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()
    assert {file.name for file in (tmp_path / "out.checkpoint").iterdir()} == {"recipe.json", "identity.json"}


@pytest.fixture
def index(tmp_path: Path, dataset: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """An index of the toy data with the views flat and bm25."""
    folder = tmp_path / "index"
    both = ["--indexes", "flat,bm25", "--model", str(model)]
    assert main(["index", "--corpus", str(dataset), *both, "--output", str(folder)]) == 0
    return folder


def test_an_index_is_not_searched_with_another_model(
    tmp_path: Path, dataset: Path, model: Path, index: Path, refused: Check
) -> None:
    says = (
        f"the index {index} was built by another model: {model}",
        "32 dimensions",
        "Build the index again: encloze index",
    )
    other = other_model(tmp_path / "other")
    refused("search", "a river", "--index", index, "--model", other, says=(*says, str(other)))
    Backbone.load(other, require_mlm_head=True).save(model)  # the model's folder now contains other weights
    refused("search", "a river", "--index", index, says=says)
    out = ("--output", tmp_path / "out")
    refused("evaluate", "--dataset", dataset, "--systems", index, *out, says=says)


def test_the_new_path_of_a_moved_model_is_accepted(
    tmp_path: Path, model: Path, index: Path, refused: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rename(tmp_path / "moved")
    refused("search", "a river", "--index", index, says=(str(model), "Give the path of a model folder"))
    assert main(["search", "a river", "--index", str(index), "--model", str(tmp_path / "moved")]) == 0
    assert "river" in capsys.readouterr().out


def test_missing_and_damaged_indexes_are_named(tmp_path: Path, dataset: Path, index: Path, refused: Check) -> None:
    refused(
        "search", "x", "--index", dataset, says=("is not an index: it has no index.json. Build one: encloze index",)
    )
    refused("search", "x", "--index", tmp_path / "none", says=("none is not an index",))
    (index / "flat" / "embeddings.npy").write_bytes(b"short")
    refused("search", "x", "--index", index, says=("is damaged: flat/embeddings.npy has changed since it was written",))
    shutil.rmtree(index / "bm25")
    refused("search", "x", "--index", index, says=(f"{index} is damaged: ",))


def test_a_fusion_with_the_wrong_number_of_weights_is_refused(index: Path, refused: Check) -> None:
    weighted = ("--fusion", "weighted", "--fusion.weights", "1,2,3")
    refused("search", "x", "--index", index, *weighted, says=("the weighted fusion has 3 weights for 2 indexes",))


@pytest.mark.parametrize("content", ["nothing", "other files", "no folder"])
def test_a_missing_model_is_named(tmp_path: Path, dataset: Path, refused: Check, content: str) -> None:
    folder = tmp_path / "no-model"
    if content != "no folder":
        folder.mkdir()
    if content == "other files":
        (folder / "notes.txt").touch()
    build = ("index", "--corpus", dataset, "--model", folder, "--output", tmp_path / "out")
    refused(*build, says=(str(folder),))


def test_a_model_folder_without_a_tokenizer_is_named(
    tmp_path: Path, dataset: Path, model: Path, refused: Check
) -> None:
    (model / "tokenizer.json").unlink()
    build = ("index", "--corpus", dataset, "--model", model, "--output", tmp_path / "out")
    refused(*build, says=(f"{model} has no tokenizer",))


def test_rerun_refuses_folders_that_encloze_did_not_write(dataset: Path, refused: Check) -> None:
    refused("rerun", dataset, says=("toys has no recipe.yaml. Name a folder that an encloze command wrote",))


def test_outputs_that_are_not_folder_names_are_refused(
    tmp_path: Path, dataset: Path, model: Path, refused: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in (".", ".."):
        index = ("index", "--corpus", dataset, "--indexes", "bm25", "--output", place, "--overwrite")
        refused(*index, says=("Choose another --output",))


def test_a_full_disk_gives_one_message_and_leaves_no_files(
    tmp_path: Path, dataset: Path, cache: Path, full_disk: FullDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "--corpus", str(dataset), "--near_duplicate_threshold", "1"]) == 0  # this fills the cache
    before, in_cache = listing(tmp_path), listing(cache)
    for size in (1000, 5000):
        capsys.readouterr()
        with full_disk(size):
            code = main(["index", "--corpus", str(dataset), "--indexes", "bm25", "--output", str(tmp_path / "out")])
        error = capsys.readouterr().err
        assert code == 2, error
        assert "encloze: the disk is full (" in error and "Free some space or choose another --output" in error
        assert "Traceback" not in error
        assert listing(tmp_path) == before and listing(cache) == in_cache


# Processes


def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "encloze", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **more},
    )


def test_the_exit_code_is_2_and_the_traceback_is_shown_only_on_request(tmp_path: Path, dataset: Path) -> None:
    append(dataset / "corpus.jsonl", "{broken")
    index = ("index", "--corpus", dataset, "--indexes", "bm25", "--output", tmp_path / "out")
    done = run(*index)
    assert done.returncode == 2 and done.stderr.startswith("encloze: 1 error:") and "Traceback" not in done.stderr
    shown = run(*index, ENCLOZE_DEBUG="1")
    assert shown.returncode == 1 and "Traceback" in shown.stderr and "corpus.jsonl:41" in shown.stderr


def test_the_toy_data_are_valid(tmp_path: Path, dataset: Path) -> None:
    assert len((dataset / "corpus.jsonl").read_text().splitlines()) == 40
    assert all(json.loads(line) for line in (dataset / "corpus.jsonl").read_text().splitlines())
    assert main(["index", "--corpus", str(dataset), "--indexes", "bm25", "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "manifest.json").is_file()

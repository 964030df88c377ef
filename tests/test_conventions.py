"""Tests of the conventions of the source code."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import encloze
from encloze.family import family_folders

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "encloze"
FILES = sorted(SOURCE.rglob("*.py"))
MEMBERS = [
    file
    for folder in family_folders().values()
    for file in sorted(folder.glob("*.py"))
    if file.stem != "base" and not file.stem.startswith("_")
]
PUBLIC_NAMES = {"_asdict", "_exit", "_repr_html_", "_replace"}  # of named tuples, os and IPython
NAMES_OF_LIBRARIES = {"_registered", "_replicate_for_data_parallel", "_reset_state"}  # ir_datasets, torch, accelerate


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Return all nodes of the syntax tree of a file."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def assert_no_violation(paths: list[Path], check: Callable[[Path], Iterator[str]]) -> None:
    """Fail with one line, ``file: message``, for each message that ``check`` yields."""
    violations = [f"{path.relative_to(REPOSITORY)}: {message}" for path in paths for message in check(path)]
    assert not violations, "\n".join(violations)


def test_module_docstrings_begin_with_one_sentence() -> None:
    def check(path: Path) -> Iterator[str]:
        summary = (ast.get_docstring(nodes_of(path)[0]) or "").partition("\n")[0]
        if not summary.endswith(".") or len(summary) > 120:
            yield f"the first line {summary!r} is no sentence of at most 120 characters"

    assert_no_violation(FILES, check)


def test_files_and_functions_are_short() -> None:
    def check(path: Path) -> Iterator[str]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > 350:
            yield f"{lines} lines, more than 350"
        for node in nodes_of(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 60:
                    yield f"{node.name} has {length} lines, more than 60"

    assert_no_violation(FILES, check)


def test_module_of_a_member_defines_the_member_of_its_name() -> None:
    def check(path: Path) -> Iterator[str]:
        names = [
            keyword.value.value
            for node in nodes_of(path)
            if isinstance(node, ast.ClassDef)
            for keyword in node.keywords
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
        ]
        if names != [path.stem]:
            yield f"defines the members {names}"

    assert len(MEMBERS) > 100
    assert_no_violation(MEMBERS, check)


def test_every_setting_has_a_help_string() -> None:
    def check(path: Path) -> Iterator[str]:
        for node in nodes_of(path):
            settings = isinstance(node, ast.ClassDef) and (
                any(keyword.arg == "name" for keyword in node.keywords)
                or any(isinstance(base, ast.Name) and base.id == "Settings" for base in node.bases)
            )
            if not settings or "nn.Module" in ast.unparse(node):
                continue
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                is_setting = isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation)
                if is_setting and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
                    yield f"{node.name}.{ast.unparse(field.target)} lacks a help string"

    assert_no_violation(FILES, check)


def test_only_the_command_line_prints_and_no_error_is_swallowed() -> None:
    def check(path: Path) -> Iterator[str]:
        for node in nodes_of(path):
            if isinstance(node, ast.ExceptHandler):
                if node.type is None or (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)):
                    yield f"line {node.lineno}: a bare except, or an error that is ignored"
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield from [] if path.parent.name == "cli" else [f"line {node.lineno}: print"]

    assert_no_violation(FILES, check)


def test_members_of_a_family_are_independent() -> None:
    def check(path: Path) -> Iterator[str]:
        package = ".".join(("encloze", *path.parent.relative_to(SOURCE).parts))
        shared = (f"{package}.base", f"{package}._")  # modules whose names begin with _ are no members
        for node in nodes_of(path):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith(f"{package}.") and not module.startswith(shared):
                yield f"imports {module}"

    assert_no_violation([path for path in MEMBERS if path.parent.name != "commands"], check)


def test_tests_use_no_private_attributes() -> None:
    def check(path: Path) -> Iterator[str]:
        text = path.read_text(encoding="utf-8")
        if not set(re.findall(r"\._[a-z]\w*", text)) - {f".{name}" for name in PUBLIC_NAMES}:
            return  # spares the parser most files
        for node in nodes_of(path):
            if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
                is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                if not is_own and node.attr not in PUBLIC_NAMES | NAMES_OF_LIBRARIES:
                    yield f"line {node.lineno}: {ast.unparse(node)}"

    assert_no_violation(sorted((REPOSITORY / "tests").rglob("*.py")), check)


def test_public_names_are_sorted_and_can_be_imported() -> None:
    assert encloze.__all__ == sorted(encloze.__all__)
    for name in encloze.__all__:
        assert getattr(encloze, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Sercher'"):
        _ = encloze.Sercher


def test_imports_are_light() -> None:
    """One process imports the modules one after the other; each must not load what is heavy."""
    heavy = {
        "encloze": "numpy pydantic yaml pyarrow torch transformers",
        "encloze.cli.main": "torch transformers",
        "encloze.cli.display": "torch transformers",
        "encloze.retrieval.retriever": "torch transformers",
        "encloze.systems.bm25": "torch transformers",
        "encloze.commands.evaluate": "torch transformers",
        "encloze.commands.search": "torch transformers",
        "encloze.commands.inspect": "torch transformers",
        "encloze.commands.mine": "torch transformers",
        "encloze.commands.score": "torch transformers",
        "encloze.commands.generate": "torch transformers",
        "encloze.commands.robustness": "torch transformers",
    }
    code = f"""if True:
        import importlib, sys
        for module, heavy in {heavy!r}.items():
            importlib.import_module(module)
            loaded = set(heavy.split()) & set(sys.modules)
            assert not loaded, (module, loaded)
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr

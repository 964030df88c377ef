"""Every ``encloze`` command line and every recipe of the documentation is accepted by the real commands."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from blocks import REPOSITORY, Block, blocks_of, commands_of, pages

from encloze import recipe
from encloze.cli.main import main
from encloze.commands.base import command
from encloze.errors import RecipeError

SHELL = ("", "bash", "console", "sh", "shell")
INFORMATIVE = ("--help", "--print-recipe", "--print-schema", "--version", "-h")


def shell_blocks() -> Iterator[Block]:
    for page in [*pages(), REPOSITORY / "CONTRIBUTING.md"]:
        yield from (block for block in blocks_of(page) if block.language in SHELL and not block.skipped)


def fault_of(arguments: list[str]) -> str:
    """Return what the command line says against the arguments; nothing if it would run them."""
    if arguments and not set(INFORMATIVE) & set(arguments):
        arguments = [*arguments, "--print-recipe"]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(arguments)
    return output.getvalue() if code else ""


def test_command_lines_are_accepted(inputs: Path) -> None:
    faults, count = [], 0
    for block in shell_blocks():
        try:
            commands = list(commands_of(block))
        except ValueError as error:
            faults.append(str(error))
            continue
        count += len(commands)
        for line, arguments in commands:
            if fault := fault_of(arguments):
                faults.append(f"{block.page.relative_to(REPOSITORY)}:{line}: {fault}")
    assert not faults, "\n".join(faults)
    assert count > 40


def test_a_wrong_command_line_is_refused(inputs: Path) -> None:
    assert "no such setting" in fault_of(["index", "--corpus", "my_texts", "--output", "o", "--indices", "bm25"])
    assert "indxe" in fault_of(["indxe", "--corpus", "my_texts"])
    assert "bm52" in fault_of(["index", "--corpus", "my_texts", "--output", "o", "--indexes", "bm52"])


def test_recipes_are_accepted(inputs: Path) -> None:
    """A YAML block that names its command is a recipe."""
    faults = []
    for page in pages():
        for block in blocks_of(page):
            tree = yaml.safe_load(block.code) if block.language == "yaml" and not block.skipped else None
            name = (tree.pop("command", None) or tree.pop("verb", None)) if isinstance(tree, dict) else None
            if name:
                try:
                    recipe.build(command(str(name)), tree, source=block.location)
                except RecipeError as error:  # the command line completes a recipe
                    faults += [f"{block.location}: {fault}" for fault in error.faults if fault[1] != "is required"]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_skipped_block_has_a_reason(page: Path) -> None:
    for block in blocks_of(page):
        assert not block.skipped or len(block.skipped.split()) >= 3, block.location

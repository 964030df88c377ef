"""Command lines, recipes and error messages of the documentation are those of the real commands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from blocks import REPOSITORY, Block, Transcript, blocks_of, commands_of, pages, transcripts_of

from encloze import recipe
from encloze.cli.main import main
from encloze.commands.base import Command, get_command
from encloze.errors import RecipeError
from encloze.settings import hints_of

SHELL = ("", "bash", "console", "sh", "shell")
INFORMATIVE = ("--help", "--print-recipe", "--print-schema", "--version", "-h")
MISSING_FILE = re.compile(r"^(?P<name>\S+): there is no such file or folder|^cannot be read: No such file")
INPUTS = re.compile(r".*[/.].*|my_\w+|other_\w+")
"""Names of the reader's files: paths, names with an ending, ``my_...``."""


def shell_blocks() -> Iterator[Block]:
    for page in [*pages(), REPOSITORY / "CONTRIBUTING.md"]:
        yield from (block for block in blocks_of(page) if block.language in SHELL and not block.skipped)


def faults_of(arguments: list[str], outputs: set[str]) -> list[str]:
    """Return what is wrong with a command line; files that a reader or an earlier command makes may be missing."""
    if not set(INFORMATIVE) & set(arguments):
        arguments = [*arguments, "--print-recipe"]
    try:
        code = main(arguments)
    except RecipeError as error:
        faults = [f"{path}: {message}" for path, message in error.faults if not is_missing(message, outputs)]
        return [f"{error.source}: {fault}" for fault in faults]
    return [f"exit code {code}"] if code else []


def is_missing(message: str, outputs: set[str]) -> bool:
    match = MISSING_FILE.match(message)
    name = match["name"] if match else ""
    return bool(match) and (not name or name.partition("/")[0] in outputs or bool(INPUTS.fullmatch(name)))


@pytest.fixture
def raising(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line raises its errors, in a folder with the reader's inputs."""
    monkeypatch.setenv("ENCLOZE_DEBUG", "1")
    (inputs / "my_index").mkdir()  # a name so close to that of a system is not taken for a folder to come
    (inputs / "my_index" / "index.json").write_text("{}", encoding="utf-8")
    return inputs


@pytest.mark.usefixtures("raising")
def test_command_lines_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    faults: list[str] = []
    count = 0
    outputs: dict[Path, set[str]] = {}  # of the commands above on the same page
    for block in shell_blocks():
        of_page = outputs.setdefault(block.page, set())
        try:
            commands = list(commands_of(block))
        except ValueError as error:
            faults.append(str(error))
            continue
        for line, arguments in commands:
            if arguments and arguments[0].isupper():  # a synopsis: encloze COMMAND ...
                continue
            count += 1
            found = faults_of(arguments, of_page)
            faults += [f"{block.page.relative_to(REPOSITORY)}:{line}: {fault}" for fault in found]
            of_page |= {after for name, after in itertools.pairwise(arguments) if name == "--output"}
    capsys.readouterr()
    assert not faults, "\n".join(faults)
    assert count > 40


def test_options_without_a_command_are_settings_of_some_command() -> None:
    known = {name for command in Command.members() for name in hints_of(Command.member(command))}
    faults = []
    for block in shell_blocks():
        lines = [line.strip() for line in block.code.splitlines()]
        if lines and lines[0].startswith("--"):
            names = [word[2:].replace("-", "_") for line in lines for word in line.split() if word.startswith("--")]
            used = {name.partition("=")[0].partition(".")[0] for name in names}
            faults += [f"{block.location}: --{name}" for name in sorted(used - known)]
    assert not faults, "\n".join(faults)


@pytest.mark.usefixtures("raising")
def test_a_wrong_command_line_is_refused() -> None:
    index = ["index", "--corpus", "my_texts", "--output", "o"]
    assert "indices" in faults_of([*index, "--indices", "bm25"], set())[0]
    assert "indxe" in faults_of(["indxe", "--corpus", "my_texts"], set())[0]
    assert "bm52" in faults_of([*index, "--indexes", "bm52"], set())[0]
    assert (
        "python_dosc" in faults_of(["index", "--corpus", "python_dosc", "--indexes", "bm25", "--output", "o"], set())[0]
    )
    assert faults_of(["inspect", "--corpus", "made"], {"made"}) == []


def transcripts() -> list[Transcript]:
    return [transcript for page in pages() for block in blocks_of(page) for transcript in transcripts_of(block)]


@pytest.mark.parametrize("transcript", transcripts(), ids=lambda transcript: transcript.location)
def test_an_error_message_is_shown_as_it_is(
    transcript: Transcript, faulty_inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(transcript.arguments) == 2
    output = capsys.readouterr().err
    assert output[output.index("encloze: ") :].split() == transcript.message.split()


@pytest.mark.usefixtures("inputs")
def test_recipes_are_accepted() -> None:
    """A YAML block that names its command is a recipe; the command line completes it."""
    faults = []
    for page in pages():
        for block in blocks_of(page):
            tree = yaml.safe_load(block.code) if block.language == "yaml" and not block.skipped else None
            name = tree.pop("verb", None) if isinstance(tree, dict) else None
            if name:
                try:
                    recipe.build(get_command(str(name)), tree, source=block.location)
                except RecipeError as error:
                    faults += [f"{block.location}: {fault}" for fault in error.faults if fault[1] != "is required"]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_an_excluded_block_has_a_reason(page: Path) -> None:
    for block in blocks_of(page):
        assert not block.skipped or len(block.skipped.split()) >= 3, block.location

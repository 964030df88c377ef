"""Code blocks of Markdown pages and notebooks, with their places, as the tests of the documentation need them."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SKIPPED = re.compile(r"<!-- not run: (?P<reason>.+?) -->")
FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<language>[^`\n]*)$")
COMMAND = re.compile(r"(^|[|&;] *)([A-Z_]+=\S+ |time )*(\S*/)?encloze( |$)")
OPERATORS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}


@dataclass(frozen=True)
class Block:
    """Code block of a page."""

    page: Path
    line: int
    """Number of the first line of code, from 1."""
    language: str
    code: str
    skipped: str = ""
    """Reason why the block is not run: ``<!-- not run: REASON -->`` on the line above it."""

    @property
    def location(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """Return the Markdown pages whose code is tested: README.md and all of docs but what is generated."""
    found = [
        path
        for path in sorted((REPOSITORY / "docs").rglob("*.md"))
        if not {"_build", "generated"} & set(path.relative_to(REPOSITORY).parts)
    ]
    return [REPOSITORY / "README.md", *found]


def notebooks() -> list[Path]:
    """Return the notebooks of the gallery."""
    return sorted((REPOSITORY / "docs" / "gallery").glob("*.ipynb"))


def blocks_of(page: Path, text: str | None = None) -> Iterator[Block]:
    """Yield the fenced code blocks of a Markdown page."""
    lines = (page.read_text(encoding="utf-8") if text is None else text).splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        start = number
        while number < len(lines) and lines[number].strip() != fence["marks"]:
            number += 1
        previous = next((line for line in reversed(lines[: start - 1]) if line.strip()), "")
        skipped = SKIPPED.search(previous)
        code = "\n".join(line.removeprefix(fence["indent"]) for line in lines[start:number])
        yield Block(page, start + 1, fence["language"].strip(), code, skipped["reason"] if skipped else "")
        number += 1


def cells_of(notebook: Path) -> list[str]:
    """Return the code of the cells of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@dataclass(frozen=True)
class Transcript:
    """Command of a page with the error message that it prints."""

    page: Path
    line: int
    arguments: list[str]
    message: str

    @property
    def location(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def transcripts_of(block: Block) -> Iterator[Transcript]:
    """Yield each ``$ encloze ...`` of a block that is followed by an error message, ``encloze: ...``."""
    lines = block.code.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        if start + 1 < end and lines[start + 1].startswith("encloze: "):
            (arguments,) = _commands(lines[start].removeprefix("$ "))
            yield Transcript(block.page, block.line + start, arguments, "\n".join(lines[start + 1 : end]))


def commands_of(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line and the arguments of each ``encloze ...`` in a shell block.

    Raises:
        ValueError: If a quotation is not closed, or options follow a command without a backslash at its end.
    """
    lines = block.code.splitlines()
    number, has_command = 0, False
    while number < len(lines):
        start, line = number, lines[number].strip().removeprefix("$ ")
        number += 1
        while number < len(lines) and (line.endswith("\\") or (COMMAND.search(line) and not _is_closed(line))):
            line = f"{line.removesuffix(chr(92)).rstrip()} {lines[number].strip()}"
            number += 1
        has_command = has_command or bool(COMMAND.search(line))
        if line.startswith("--") and has_command:
            raise ValueError(f"{block.location}: options need a backslash at the end of the line above: {line}")
        is_refused = number < len(lines) and lines[number].startswith("encloze: ")  # see transcripts_of
        if COMMAND.search(line) and not is_refused:
            yield from ((block.line + start, arguments) for arguments in _commands(line))


def _is_closed(line: str) -> bool:
    """Return whether every quotation of a line ends in it."""
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return True


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word not in OPERATORS:
            command.append(word)
            continue
        while command and (re.fullmatch(r"[A-Z_]+=.*", command[0]) or command[0] == "time"):
            del command[0]
        if command and command[0].rpartition("/")[2] == "encloze":
            yield command[1:]
        command = [""] if word in (">", ">>", "<") else []  # what follows a redirection names a file

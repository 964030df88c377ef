"""A folder of .txt and .md files, split into passages at paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Document
from encloze.errors import DataError

_SUFFIXES = (".txt", ".md", ".markdown")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*$")


@dataclass(frozen=True)
class Text(Format, name="text"):
    """Plain text or Markdown; a passage is one or more whole paragraphs, its source the file it is from."""

    rank: ClassVar[int] = 80

    path: Path
    """The folder (searched with its subfolders) or one file."""
    passage_words: int = 150
    """A passage is closed when the next paragraph would bring it above so many words."""

    def __post_init__(self) -> None:
        if self.passage_words < 1:
            raise ValueError(f"passage_words must be 1 or more, not {self.passage_words}")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() in _SUFFIXES
        if (path / "qrels").exists() or any(path.glob("*.jsonl*")):
            return False  # a data set that lacks a file, with a README beside it
        return any(file.suffix.lower() in _SUFFIXES for file in path.rglob("*"))

    def documents(self, faults: Faults) -> Iterator[Document]:
        files = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        root = self.path.parent if self.path.is_file() else self.path
        for file in files:
            if file.suffix.lower() in _SUFFIXES and file.is_file():
                try:
                    content = file.read_text(encoding="utf-8-sig")
                except UnicodeDecodeError as error:
                    line = file.read_bytes()[: error.start].count(b"\n") + 1
                    faults.add(f"{file}:{line}", "not UTF-8 text. Convert the file to UTF-8")
                    continue
                except OSError as error:
                    raise DataError(f"{file}: cannot be read: {error.strerror}") from error
                source = str(file.relative_to(root))
                for position, (title, passage) in enumerate(self._passages(content, file.stem)):
                    yield Document(f"{source}#{position}", title, passage, source, position)

    def _passages(self, content: str, name: str) -> Iterator[tuple[str, str]]:
        """(title, passage) pairs; a Markdown heading closes a passage and becomes the title of the next ones.

        Headings that follow each other without text between them become one title; a last one, a passage.
        """
        title, held, words, bare = name, list[str](), 0, False
        for paragraph in re.split(r"\n\s*\n", content.replace("\r\n", "\n")):
            first, _, rest = paragraph.strip().partition("\n")
            heading = _HEADING.match(first)
            text = rest.strip() if heading else paragraph.strip()
            if held and (heading or words + len(text.split()) > self.passage_words):
                yield title, "\n\n".join(held)
                held, words = [], 0
            if heading:
                title, bare = f"{title} / {heading.group(1)}" if bare else heading.group(1), True
            if text:
                held.append(text)
                words, bare = words + len(text.split()), False
        if held or bare:
            yield title, "\n\n".join(held) or title

"""Plain text and Markdown files, split into passages at paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document
from encloze.errors import DataError

_SUFFIXES = (".txt", ".md", ".markdown")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*$")


@dataclass(frozen=True)
class Text(Format, name="text"):
    """A folder of .txt and .md files, or one such file. A passage consists of whole paragraphs of one file."""

    recognition_order: ClassVar[int] = 80

    path: Path
    """Folder that is searched recursively for .txt and .md files, or one such file."""
    passage_words: int = 150
    """Maximum number of words of a passage. Only a single longer paragraph may exceed it: it becomes a passage by
    itself."""

    def __post_init__(self) -> None:
        if self.passage_words < 1:
            raise ValueError(f"passage_words must be 1 or more, not {self.passage_words}")

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() in _SUFFIXES
        if (path / "qrels").exists() or any(path.glob("*.jsonl*")):
            return False  # an incomplete data set with a README beside it
        return any(file.suffix.lower() in _SUFFIXES for file in path.rglob("*"))

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        files = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        root = self.path.parent if self.path.is_file() else self.path
        for file in files:
            if file.suffix.lower() in _SUFFIXES and file.is_file():
                try:
                    content = file.read_text(encoding="utf-8-sig")
                except UnicodeDecodeError as error:
                    line = file.read_bytes()[: error.start].count(b"\n") + 1
                    errors.add(f"{file}:{line}", "not UTF-8 text. Convert the file to UTF-8")
                    continue
                except OSError as error:
                    raise DataError(f"{file}: cannot be read: {error.strerror}") from error
                source = str(file.relative_to(root))
                for position, (title, passage) in enumerate(self._passages(content, file.stem)):
                    yield Document(f"{source}#{position}", title, passage, source, position)

    def _passages(self, content: str, file_stem: str) -> Iterator[tuple[str, str]]:
        """Yield the title and text of each passage.

        A Markdown heading ends a passage and is the title of the passages that follow. Consecutive headings are joined
        to one title. Headings without text at the end of the file become a passage whose text is this title.
        """
        title, paragraphs, words, is_after_heading = file_stem, list[str](), 0, False
        for paragraph in re.split(r"\n\s*\n", content.replace("\r\n", "\n")):
            first_line, _, rest = paragraph.strip().partition("\n")
            heading = _HEADING.match(first_line)
            text = rest.strip() if heading else paragraph.strip()
            if paragraphs and (heading or words + len(text.split()) > self.passage_words):
                yield title, "\n\n".join(paragraphs)
                paragraphs, words = [], 0
            if heading:
                title = f"{title} / {heading.group(1)}" if is_after_heading else heading.group(1)
                is_after_heading = True
            if text:
                paragraphs.append(text)
                words, is_after_heading = words + len(text.split()), False
        if paragraphs or is_after_heading:
            yield title, "\n\n".join(paragraphs) or title

"""Plain text and Markdown files, split into passages at paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from encloze.data.formats.base import Format, paths_below
from encloze.data.lines import ErrorCollector
from encloze.data.markdown import Block, Section, markdown_sections
from encloze.data.records import Document
from encloze.errors import DataError

_SUFFIXES = (".txt", ".md", ".markdown")
_ABOUT, _TABLES = ("readme", "license"), (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".gz")
"""Names of text files that describe a folder, and suffixes of the data that they describe."""
_STUB_SHARE = 0.1
"""Share of ``passage_words`` below which a passage is joined to the next."""


@dataclass(frozen=True)
class Text(Format, name="text"):
    """A folder of .txt and .md files, or one such file. A passage consists of whole paragraphs of one file.

    Markdown is read as plain text, without markup. Its headings are the titles of the passages below them.
    """

    recognition_order: ClassVar[int] = 80

    path: Path
    """Folder that is searched recursively for .txt and .md files, or one such file."""
    passage_words: int = 150
    """Maximum number of words of a passage. A single longer paragraph may exceed it, and so may a passage that is
    joined to one of less than a tenth of this number."""
    txt_title: Literal["file_name", "first_line"] = "file_name"
    """Title of the passages of a .txt file: the name of the file without its extension, or the first line of its
    text, which is then not part of the passages."""

    def __post_init__(self) -> None:
        if self.passage_words < 1:
            raise ValueError(f"passage_words must be 1 or more, not {self.passage_words}")

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() in _SUFFIXES
        if (path / "qrels").exists() or any(path.glob("*.jsonl*")):
            return False  # an incomplete data set with a README beside it
        has_text = has_table = False
        for file in paths_below(path):
            suffix = file.suffix.lower()
            if suffix in _SUFFIXES and file.stem.lower() not in _ABOUT:
                return True
            has_text, has_table = has_text or suffix in _SUFFIXES, has_table or suffix in _TABLES
        return has_text and not has_table

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        root = self.path.parent if self.path.is_file() else self.path
        for file in self.document_files():
            try:
                content = file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                line = file.read_bytes()[: error.start].count(b"\n") + 1
                errors.add(f"{file}:{line}", "not UTF-8 text. Convert the file to UTF-8")
                continue
            except OSError as error:
                raise DataError(f"{file}: cannot be read: {error.strerror}") from error
            source, position = str(file.relative_to(root)), 0
            for section in self._sections(content.replace("\r\n", "\n"), file):
                for passage in self._passages(section.blocks) or [section.title]:
                    yield Document(f"{source}#{position}", section.title, passage, source, position)
                    position += 1

    def document_files(self) -> list[Path]:
        files = [self.path] if self.path.is_file() else sorted(paths_below(self.path))
        return [file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file()]

    def titles_remedy(self) -> str:
        return "Write Markdown headings, or set txt_title of the corpus to first_line if .txt files begin with a title"

    def _sections(self, content: str, file: Path) -> Iterator[Section]:
        """Yield the sections of a file; a .txt file with text is one section."""
        title = file.stem
        if file.suffix.lower() != ".txt":
            yield from markdown_sections(content, title)
            return
        if self.txt_title == "first_line" and content.strip():
            title, _, content = content.lstrip().partition("\n")
        paragraphs = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", content)]
        blocks = [Block([paragraph], "\n") for paragraph in paragraphs if paragraph]
        if blocks or title != file.stem:
            yield Section(title.strip(), blocks)

    def _passages(self, blocks: list[Block]) -> list[str]:
        """Return the passages of a section. A block longer than the maximum is divided at its parts."""
        passages, sizes = list[list[str]](), list[int]()
        for block in blocks:
            is_long = len(block.text.split()) > self.passage_words
            for number, part in enumerate(block.parts if is_long else [block.text]):
                size, separator = len(part.split()), block.separator if number else "\n\n"
                if passages and (sizes[-1] + size <= self.passage_words or self._is_stub(sizes[-1])):
                    passages[-1] += [separator, part]
                    sizes[-1] += size
                else:
                    passages.append([part])
                    sizes.append(size)
        if len(passages) > 1 and self._is_stub(sizes[-1]):
            last = passages.pop()
            passages[-1] += ["\n\n", *last]
        return ["".join(passage) for passage in passages]

    def _is_stub(self, words: int) -> bool:
        """Return whether a passage is so short, such as a title line alone, that it is joined to its neighbor."""
        return words < _STUB_SHARE * self.passage_words

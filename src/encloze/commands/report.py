"""Make a page that people read of what encloze found: one HTML file, with Markdown and JSON beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze import recipe
from encloze.commands.base import Command, Reported
from encloze.errors import importable
from encloze.reporting.cards import write_cards
from encloze.reporting.document import document
from encloze.reporting.made import PAGE, made
from encloze.reporting.markdown import markdown
from encloze.reporting.page import page
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.json_files import write_json
from encloze.storage.provenance import versions, write_provenance


@dataclass(frozen=True)
class MakeReport(Command, name="report"):
    """Gathers what other verbs wrote: comparisons, evaluations, robustness cards, trainings, whole pipelines.

    The page needs no network and no other file. It follows the reader's theme, and prints.
    """

    words: ClassVar[tuple[str, ...]] = ("folders",)

    folders: tuple[Path, ...]
    """Folders that encloze wrote; what lies below them counts, too."""
    output: Path | None = None
    """The folder for report.html, report.md and report.json; by default the first one's name with -report behind."""
    title: str | None = None
    """The page's title; by default the names of the folders."""
    texts: bool = True
    """Whether queries and pieces of documents are shown; without them only their ids are."""
    examples: int = 3
    """How many queries are shown that the best system wins, and how many that it loses, with what was found."""
    cards: bool = False
    """Whether the README.md of each model folder that was judged gets its figures, also as the Hugging Face hub reads
    them."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("folders is empty: name at least one, as in encloze report compared")
        if self.examples < 0:
            raise ValueError(f"examples must be 0 or more, not {self.examples}")

    def run(self) -> Reported:
        for package in ("jinja2", "matplotlib"):  # told before anything is read
            importable(package, "report")
        first = self.folders[0].resolve()
        output = self.output or first.with_name(f"{first.name}-report")
        refuse_existing(output, overwrite=self.overwrite)
        found = made(self.folders)
        title = self.title or ", ".join(dict.fromkeys(folder.resolve().name for folder in self.folders))
        report = document(title, found, texts=self.texts, examples=self.examples)
        with atomic_folder(output, overwrite=self.overwrite) as folder:
            when = f"{time.strftime('%Y-%m-%d')}, of {len(found)} result{'s' * (len(found) > 1)}"
            html = page(report, when, versions().get("encloze", ""))
            (folder / PAGE).write_text(html, encoding="utf-8")
            (folder / "report.md").write_text(markdown(report), encoding="utf-8")
            write_json(folder / "report.json", {"title": report.title, "results": report.figures})
            inputs = {f"folders[{number}]": place for number, place in enumerate(self.folders)}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        told = write_cards(report.models) if self.cards else []
        return Reported(output / PAGE, len(found), tuple(told), self.cards)

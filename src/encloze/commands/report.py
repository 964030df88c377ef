"""Write an HTML report on the results of other commands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze import recipe
from encloze.commands.base import Command
from encloze.errors import importable
from encloze.reporting.document import build_document
from encloze.reporting.markdown import render_markdown
from encloze.reporting.model_cards import write_cards
from encloze.reporting.page import render_page
from encloze.reporting.result_folders import PAGE, find_result_folders
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.json_files import write_json
from encloze.storage.output_lock import lock_output
from encloze.storage.provenance import versions, write_provenance


@dataclass(frozen=True)
class ReportResult:
    """Result of ``report``: an HTML page, and the model cards that were updated."""

    page: Path
    """Path of report.html."""
    results: int
    """Number of result folders on the page."""
    cards: tuple[Path, ...] = ()
    """Model folders whose README.md was updated."""
    cards_requested: bool = False
    """Whether an update of the model cards was requested."""


@dataclass(frozen=True)
class MakeReport(Command, name="report"):
    """Write one HTML page on the results of commands that evaluate, inspect or train.

    The page is a single file that loads nothing from the network. It has a light and a dark theme and can be printed.
    Markdown and JSON files with the same numbers are written to the same folder.
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("folders",)

    folders: tuple[Path, ...]
    """Folders with results of encloze commands. Results in their subfolders are included."""
    output: Path | None = None
    """Folder for report.html, report.md and report.json; by default the first folder's name with -report appended."""
    title: str | None = None
    """Title of the page; by default the names of the folders."""
    include_texts: bool = True
    """Whether the page shows the texts of queries and documents. If not, it shows only their ids."""
    examples: int = 3
    """Number of example queries of each kind and data set. There are two kinds: those on which the best system scores
    higher than the system that is listed first, and those on which it scores lower."""
    model_cards: bool = False
    """Whether results are added to the README.md of each evaluated model folder, as tables and as metadata for the
    Hugging Face hub."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("folders is empty: name at least one folder with results, as in encloze report compared")
        if self.examples < 0:
            raise ValueError(f"examples must be 0 or more, not {self.examples}")

    def run(self) -> ReportResult:
        for package in ("jinja2", "matplotlib"):  # report missing packages before results are read
            importable(package, "report")
        first = self.folders[0].resolve()
        output = self.output or first.with_name(f"{first.name}-report")
        with lock_output(output):
            return self._write(output)

    def _write(self, output: Path) -> ReportResult:
        refuse_existing(output, overwrite=self.overwrite)
        results = find_result_folders(self.folders)
        title = self.title or ", ".join(dict.fromkeys(folder.resolve().name for folder in self.folders))
        document = build_document(title, results, include_texts=self.include_texts, examples=self.examples)
        with atomic_folder(output, overwrite=self.overwrite) as folder:
            subtitle = f"{time.strftime('%Y-%m-%d')}, {len(results)} result{'s' * (len(results) > 1)}"
            page = render_page(document, subtitle, versions().get("encloze", ""))
            (folder / PAGE).write_text(page, encoding="utf-8")
            (folder / "report.md").write_text(render_markdown(document), encoding="utf-8")
            write_json(folder / "report.json", {"title": document.title, "results": document.figures})
            inputs = {f"folders[{number}]": path for number, path in enumerate(self.folders)}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        cards = write_cards(document.models) if self.model_cards else []
        return ReportResult(output / PAGE, len(results), tuple(cards), self.model_cards)

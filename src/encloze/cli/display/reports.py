"""Results that measure: tables of systems, cards, comparisons, what the steps of a pipeline brought."""

from __future__ import annotations

import textwrap

from rich import box
from rich.table import Table
from rich.text import Text

from encloze.cli.display.screen import OUT, show, show_table, stacked
from encloze.commands.demo import Shown
from encloze.commands.run import Ran
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.labels import LabelReport
from encloze.evaluation.report import Report
from encloze.evaluation.robustness import Card

_AFTER_DEMO = (
    'encloze search --index {folder}/index "run a function in a thread pool"',
    "encloze search --index {folder}/index              # a prompt",
    "encloze evaluate --systems bm25,minilm --dataset YOUR_FOLDER",
    "encloze pretrain --corpus YOUR_FOLDER --model minilm --objective retromae --output MODEL",
)


@show.register
def _(result: Report | LabelReport) -> None:
    show_table(result.title(), result.rows())
    for note in result.notes:
        OUT.print(note, markup=False)


@show.register
def _(result: Card) -> None:
    OUT.print(result.title(), style="bold", markup=False)
    for rows in (result.rows(), result.slice_rows())[: 2 if result.sliced else 1]:
        table, shared = Table(box=box.SIMPLE_HEAD), rows[0][: 2 if rows[0][0] == "slice" else 1]
        for number, name in enumerate(rows[0]):
            table.add_column(name, justify="left" if number == 0 or name in ("perturbation", "system") else "right")
        for row, before in zip(rows[1:], rows, strict=False):
            same = len(shared) if row[0] == before[0] else 0  # what the rows of one system, or of one slice, share
            table.add_row(*[""] * same, *map(stacked if rows[0][0] == "slice" else Text, row[same:]))
        OUT.print(table)
    for note in result.notes:
        OUT.print(note, markup=False)
    for system in filter(result.worst, result.systems):
        OUT.print(f"{system.name}, the queries that lost most:", markup=False)
        for fallen in result.worst(system):
            OUT.print(
                f"  {fallen.hardship}, {fallen.clean:.4f} to {fallen.perturbed:.4f} ({fallen.query})", markup=False
            )
            for text in dict.fromkeys((fallen.before, fallen.after)):
                OUT.print(textwrap.indent(textwrap.fill(text, min(OUT.width, 120) - 4), "    "), markup=False)


@show.register
def _(result: ComparisonTable) -> None:
    for title, rows in result.tables():
        show_table(title, rows)
    for note in result.notes:
        OUT.print(note, markup=False)


@show.register
def _(result: Ran) -> None:
    if result.report:
        show(result.report)
    for says in result.steps:
        gap = "{:+.4f}, {:+.4f} to {:+.4f}".format(*says.difference)
        OUT.print(f"{says.stage}: {says.verdict()} ({gap}).", markup=False)
    if result.page:
        OUT.print(f"{result.page} shows all stages: open it.", markup=False)
    OUT.print(f"Everything is in {result.folder}.", markup=False)


@show.register
def _(result: Shown) -> None:
    show(result.report)
    for stage in result.stages:
        low, high = stage.difference.low, stage.difference.high
        change = f"{stage.difference.mean:+.4f} nDCG@10, 95 % interval {low:+.4f} to {high:+.4f}"
        OUT.print(f"{stage.stage} {stage.verdict()} ({change}).", markup=False)
    for example in result.examples:
        table = Table(title=f'"{example.question}"', title_justify="left", box=box.SIMPLE_HEAD, expand=False)
        first = "MiniLM as it comes" if result.backbone == "minilm" else "fine-tuned only"
        table.add_column(f"before ({first})")
        table.add_column("after (RetroMAE, then fine-tuned)")
        for before, after in zip(example.before, example.after, strict=False):
            table.add_row(Text(before[0].title), Text(after[0].title))
        OUT.print(table)
    OUT.print(f"{result.page} shows all this, and how each model learnt: open it.", markup=False)
    OUT.print(f"It took {result.minutes:.1f} minutes. Everything is in {result.folder}. Go on:", markup=False)
    for command in _AFTER_DEMO:
        OUT.print(f"  {command.format(folder=result.folder)}", markup=False)

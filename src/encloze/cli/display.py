"""The screen: progress while a verb works, and its result when it is done; nothing else draws."""

from __future__ import annotations

import functools
import sys
import textwrap
import time
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.progress import Task as Bar
from rich.table import Table
from rich.text import Text

from encloze import progress
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.labels import LabelReport
from encloze.evaluation.report import Report
from encloze.evaluation.robustness import Card
from encloze.pipelines.demo import Shown
from encloze.pipelines.run import Ran
from encloze.tasks.base import Calibrated, Generated, Merged, Mined, Scored, Trained, TrainedClassifier
from encloze.tasks.index import Indexed
from encloze.tasks.inspect import Inspection
from encloze.tasks.list import Listing
from encloze.tasks.search import Found, Prompt

# A file or a pipe has no width to keep to.
_out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 200)
_NEXT = {
    "finetune": "encloze finetune --model {folder} --dataset FOLDER --output MODEL",
    "index": "encloze index --model {folder} --corpus FOLDER --output INDEX",
    "score": "encloze score --model {folder} --dataset FOLDER --candidates RUN --output SCORES",
}
_AFTER_DEMO = (
    'encloze search --index {folder}/index "run a function in a thread pool"',
    "encloze search --index {folder}/index              # a prompt",
    "encloze evaluate --systems bm25,minilm --dataset YOUR_FOLDER",
    "encloze pretrain --corpus YOUR_FOLDER --model minilm --objective retromae --output MODEL",
)
_NAMES = ("system", "data set", "verdict")  # columns of words
_EVERY = 10.0  # seconds between lines where the screen is a file


def run(task: Any) -> None:
    """Run a task, show how it goes, and show what comes back."""
    screen = _Live() if _err.is_terminal else _Lines()
    with progress.listening(screen):
        try:
            result = task.run()
        finally:
            screen.close()
    show(result)


@functools.singledispatch
def show(result: object) -> None:
    """Show what a verb gave back."""
    if result is not None:
        _out.print(str(result), markup=False)


@show.register
def _(result: Report | LabelReport) -> None:
    _show_table(result.title(), result.rows())
    for system in result.systems:
        if system.note:
            _out.print(f"{system.name}: {system.note}", markup=False)


@show.register
def _(result: Card) -> None:
    _out.print(result.title(), style="bold", markup=False)
    for rows in (result.rows(), result.slice_rows())[: 2 if result.slices else 1]:
        table = Table(box=box.SIMPLE_HEAD)
        for number, name in enumerate(rows[0]):
            table.add_column(name, justify="left" if number == 0 or name == "perturbation" else "right")
        for row, before in zip(rows[1:], rows, strict=False):
            table.add_row(row[0] * (row[0] != before[0]), *map(_stacked if rows[0][0] == "slice" else Text, row[1:]))
        _out.print(table)
    for system in result.systems:
        if system.note:
            _out.print(f"{system.name}: {system.note}", markup=False)
    for system in filter(result.worst, result.systems):
        _out.print(f"{system.name}, the queries that lost most:", markup=False)
        for fallen in result.worst(system):
            _out.print(
                f"  {fallen.hardship}, {fallen.clean:.4f} to {fallen.perturbed:.4f} ({fallen.query})", markup=False
            )
            for text in dict.fromkeys((fallen.before, fallen.after)):
                _out.print(textwrap.indent(textwrap.fill(text, min(_out.width, 120) - 4), "    "), markup=False)


@show.register
def _(result: ComparisonTable) -> None:
    for title, rows in result.tables():
        _show_table(title, rows)
    for note in result.notes:
        _out.print(note, markup=False)


@show.register
def _(result: Trained) -> None:
    folder = result.folder
    _out.print(f"The model is in {folder}. Next: {_NEXT[result.next_verb].format(folder=folder)}", markup=False)


@show.register
def _(result: TrainedClassifier) -> None:
    for report in result.reports:
        show(report)
    _out.print(f"The model, with what it makes of each label, is in {result.folder}.", markup=False)


@show.register
def _(result: Scored) -> None:
    folder = result.folder
    _out.print(f"{result.pairs:,} pairs of {result.queries:,} queries are scored in {folder}. Next:", markup=False)
    _out.print(f"  encloze finetune --teacher {folder} --negatives {folder} --losses kl_divergence ...", markup=False)


@show.register
def _(result: Ran) -> None:
    if result.report:
        show(result.report)
    for says in result.steps:
        gap = "{:+.4f}, {:+.4f} to {:+.4f}".format(*says.difference)
        _out.print(f"{says.stage}: {says.verdict()} ({gap}).", markup=False)
    _out.print(f"Everything is in {result.folder}.", markup=False)


@show.register
def _(result: Calibrated) -> None:
    _out.print(
        f"{result.folder} gives probabilities, learnt from {result.pairs:,} pairs, {result.relevant:.1%} of them "
        "relevant. On queries that they were not learnt from:",
        markup=False,
    )
    for what, off in (("logistic of the scores", result.before), ("calibrated", result.after)):
        _out.print(f"  {what}: calibration error {off.calibration_error:.4f}, Brier {off.brier:.4f}", markup=False)
    for level in result.levels:
        _out.print(
            f"  probability {level.probability:.2f} or more: {level.precision:.0%} of these pairs are relevant, and "
            f"{level.recall:.0%} of all relevant ones are among them",
            markup=False,
        )
    _out.print(f'Next: encloze search --index INDEX --reranker {result.folder} "what you look for"', markup=False)


@show.register
def _(result: Mined) -> None:
    folder = result.folder
    _out.print(f"{result.negatives:,} negatives for {result.queries:,} queries are in {folder}.", markup=False)
    for why, count in result.dropped.items():
        _out.print(f"  {count:,} candidates were left out: {why}", markup=False)
    _out.print(f"Next: encloze finetune --negatives {folder} --dataset FOLDER ...", markup=False)


@show.register
def _(result: Generated) -> None:
    folder, count = result.folder, sum(result.queries.values())
    splits = ", ".join(f"{split} {queries:,}" for split, queries in result.queries.items())
    say = functools.partial(_out.print, markup=False)
    say(f"{count:,} queries for {result.documents:,} documents are in {folder} ({splits}).")
    for why, count in result.dropped.items():
        say(f"  {count:,} were left out: {why}")
    for query, document in result.examples:
        say(f'  "{query}" asks for: {document} ...')
    asked = f"'{{type: asked, corpus: FOLDER, questions: {folder}}}'"
    say(f"Next: encloze mine --dataset {asked} --output NEGATIVES")


@show.register
def _(result: Merged) -> None:
    for report in result.reports:
        show(report)
    _out.print(f"The weight of the adapted model is {result.weight:g}.", markup=False)
    show.dispatch(Trained)(result)


@show.register
def _(result: Indexed) -> None:
    views = ", ".join(view["name"] for view in result.views)
    _out.print(f"{result.documents:,} documents are indexed in {result.folder} ({views}). Next:", markup=False)
    _out.print(f'  encloze search --index {result.folder} "what you look for"', markup=False)


@show.register
def _(result: Found) -> None:
    if not result.hits:
        _out.print("Nothing was found.")
    for rank, (document, hit) in enumerate(result.hits, 1):
        parts = ", ".join(f"{name} {score:.3f}" for name, score in hit.parts.items())
        line = Text(f"{rank:>2}. ")
        line.append(document.title or document.id, style="bold")
        line.append(f"  {hit.score:.4f}{f' ({parts})' * bool(parts)}  {document.id}", style="dim")
        _out.print(line)
        _out.print(
            textwrap.indent(textwrap.fill(excerpt(document.text), min(_out.width, 120) - 4), "    "), markup=False
        )


@show.register
def _(result: Prompt) -> None:
    _out.print(f"{len(result.searcher.corpus):,} documents. An empty line ends.", markup=False)
    while query := _ask():
        show(result.answer(query))


@show.register
def _(result: Inspection) -> None:
    say = functools.partial(_out.print, markup=False)
    say(f"{result.place}: {result.documents:,} documents, {result.with_title:,} with a title")
    if result.without_text:
        say(f"{len(result.without_text):,} have no text: {', '.join(result.without_text[:5])}")
    for lengths in result.lengths:
        quantiles = ", ".join(f"{share} {length:,}" for share, length in lengths.quantiles.items())
        say(f"\n{lengths.unit.capitalize()}: {lengths.mean:.1f} on average; {quantiles}")
        if lengths.unit == "tokens":
            cut = ", ".join(f"{share:.1%} at {limit}" for limit, share in lengths.cut.items())
            say(f"Cut: {cut}")
            best = lengths.recommended
            say(f"Recommended limit: {best} tokens" if best else "Split the texts: more than 5 % are longer than 8192")
    for kind, groups in (("the same", result.identical), ("nearly the same", result.near_identical)):
        texts = sum(map(len, groups))
        largest = f"; the largest group: {', '.join(groups[0][:4])}" if groups else ""
        say(f"\n{texts:,} documents have {kind} text as others, in {len(groups):,} groups{largest}")
    say(f"\n{result.with_neighbours:,} documents have neighbours, in {result.sources:,} longer texts")
    if result.splits:
        say("Judged queries: " + ", ".join(f"{split} {count:,}" for split, count in result.splits.items()))
    for found in result.contamination:
        alike, near = (", ".join(f"{one} ~ {other}" for one, other in pairs[:3]) for pairs in (found.alike, found.near))
        say(
            f"{found.split} against {found.earlier}: {len(found.alike):,} of {found.queries:,} queries are the same or "
            f"nearly{f' ({alike})' * bool(alike)}; of {found.documents:,} relevant documents {len(found.shared):,} are "
            f"relevant there, too, and {len(found.near):,} more are nearly the same as one that is"
            f"{f' ({near})' * bool(near)}"
        )


@show.register
def _(result: Shown) -> None:
    show(result.report)
    for stage in result.stages:
        low, high = stage.difference.low, stage.difference.high
        change = f"{stage.difference.mean:+.4f} nDCG@10, 95 % interval {low:+.4f} to {high:+.4f}"
        _out.print(f"{stage.stage} {stage.verdict()} ({change}).", markup=False)
    for example in result.examples:
        table = Table(title=f'"{example.question}"', title_justify="left", box=box.SIMPLE_HEAD, expand=False)
        first = "MiniLM as it comes" if result.backbone == "minilm" else "fine-tuned only"
        table.add_column(f"before ({first})")
        table.add_column("after (RetroMAE, then fine-tuned)")
        for before, after in zip(example.before, example.after, strict=False):
            table.add_row(Text(before[0].title), Text(after[0].title))
        _out.print(table)
    _out.print(f"It took {result.minutes:.1f} minutes. Everything is in {result.folder}. Go on:", markup=False)
    for command in _AFTER_DEMO:
        _out.print(f"  {command.format(folder=result.folder)}", markup=False)


@show.register
def _(result: Listing) -> None:
    width = max(map(len, result.entries), default=0)
    for name, summary in result.entries.items():
        _out.print(f"{name:<{width}}  {summary}", markup=False)


class _Screen(progress.Listener):
    """What both kinds of screen do with notes and warnings."""

    def note(self, text: str) -> None:
        _err.print(text, markup=False)

    def warn(self, text: str) -> None:
        _err.print(Text(f"Warning: {text}", style="yellow"))

    def close(self) -> None:
        """The verb is done."""


class _Live(_Screen):
    """A terminal: a bar for each task that runs."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _State())
        self._progress = Progress(*columns, console=_err, transient=True)
        self._bars: dict[progress.Task, Any] = {}

    def started(self, task: progress.Task) -> None:
        self._progress.start()
        self._bars[task] = self._progress.add_task(task.title, total=task.total, work=task, began=time.monotonic())

    def changed(self, task: progress.Task) -> None:
        self._progress.update(self._bars[task], completed=task.done)

    def finished(self, task: progress.Task) -> None:
        self._progress.remove_task(self._bars.pop(task))

    def close(self) -> None:
        self._progress.stop()


class _State(ProgressColumn):
    """How far a bar is, how fast, and how long it will take."""

    def render(self, task: Bar) -> Text:
        return Text(state(task.fields["work"], time.monotonic() - task.fields["began"]))


class _Lines(_Screen):
    """A file or a pipe: a line now and then, and one at the end of what took long."""

    def __init__(self) -> None:
        self._began: dict[progress.Task, float] = {}
        self._said: dict[progress.Task, float] = {}

    def started(self, task: progress.Task) -> None:
        self._began[task] = self._said[task] = time.monotonic()

    def changed(self, task: progress.Task) -> None:
        if time.monotonic() - self._said[task] >= _EVERY:
            self._say(task)

    def finished(self, task: progress.Task) -> None:
        if time.monotonic() - self._began[task] >= 2:
            self._say(task)
        del self._began[task], self._said[task]

    def _say(self, task: progress.Task) -> None:
        self._said[task] = time.monotonic()
        _err.print(f"{task.title}: {state(task, time.monotonic() - self._began[task])}", markup=False)


def state(task: progress.Task, seconds: float) -> str:
    """A task's state in words: done of total, rate, time left, figures."""
    rate = (task.done - task.before) / seconds if seconds > 0 else 0.0
    of = f" of {task.total:,.0f}" if task.total else ""
    parts = [f"{task.done:,.0f}{of} {task.unit}".rstrip()]
    if rate:
        parts.append(f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s")
        if task.total and task.done < task.total:
            parts.append(f"{clock((task.total - task.done) / rate)} left")
        elif seconds >= 1:
            parts.append(f"in {clock(seconds)}")
    return ", ".join(parts + [f"{name} {value:.4g}" for name, value in task.figures.items()])


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def excerpt(text: str, letters: int = 240) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= letters else f"{line[:letters].rsplit(' ', 1)[0]} ..."


def _show_table(title: str, rows: list[list[str]]) -> None:
    """A table of text under its title."""
    head, *rest = rows
    _out.print(title, style="bold", markup=False)  # not the table's own, which breaks at the table's width
    table = Table(box=box.SIMPLE_HEAD)
    for name in head:
        table.add_column(name, justify="left" if name in _NAMES else "right")
    for row in rest:
        table.add_row(*map(_stacked, row))
    _out.print(table)


def _stacked(cell: str) -> Text:
    """A figure with its interval below it, so that the table stays narrow."""
    figure, _, interval = cell.partition(" [")
    return Text.assemble(figure, (f"\n{interval.rstrip(']').replace(', ', ' ')}" if interval else "", "dim"))


def _ask() -> str:
    try:
        return input("search> ").strip()
    except EOFError:
        return ""

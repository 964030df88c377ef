"""Display of evaluation reports, comparisons and robustness reports, and of the results of pipelines and the demo."""

from __future__ import annotations

import textwrap

from encloze.cli.display.console import OUT, say, show, show_table, show_tables
from encloze.commands.base import StageEffect
from encloze.commands.demo import DemoResult
from encloze.commands.reindex import ReindexResult
from encloze.commands.run import PipelineResult
from encloze.evaluation.answers import AnswerReport
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.gate import GateResult
from encloze.evaluation.labels import LabelReport
from encloze.evaluation.report import Report
from encloze.evaluation.robustness import RobustnessReport
from encloze.retrieval.collection_plan import CollectionPlan
from encloze.tables import Column, Table

_COMMANDS_AFTER_DEMO = (
    'encloze search --index {folder}/index "run a function in a thread pool"',
    "encloze search --index {folder}/index              # interactive",
    "encloze evaluate --systems bm25,minilm --dataset YOUR_FOLDER",
    "encloze pretrain --corpus YOUR_FOLDER --model minilm --objective retromae --output MODEL",
)


@show.register
def _(result: Report | LabelReport | ComparisonTable | GateResult | CollectionPlan) -> None:
    show_tables(result.tables(), result.notes)


@show.register
def _(result: AnswerReport) -> None:
    show_tables(result.tables(), result.notes)
    say(f"Stored the threshold in {result.index}. Searches now say whether they have an answer.")


@show.register
def _(result: RobustnessReport) -> None:
    show_tables(result.tables(), result.notes)
    for system in filter(result.most_degraded, result.systems):
        say(f"{system.name}, most degraded queries:")
        for query in result.most_degraded(system):
            say(f"  {query.perturbation}, {query.clean:.4f} to {query.perturbed:.4f} ({query.query})")
            for text in dict.fromkeys((query.original_text, query.perturbed_text)):
                say(textwrap.indent(textwrap.fill(text, min(OUT.width, 120) - 4), "    "))


@show.register
def _(result: PipelineResult) -> None:
    if result.report:
        show(result.report)
    for effect in result.effects:
        _show_effect(effect)
    if result.page:
        say(f"Saved the report on all stages to {result.page}.")
    say(f"All results are in {result.folder}.")


@show.register
def _(result: ReindexResult) -> None:
    if result.report and result.agreement:
        show(result.report)
        say(
            f"Of the ten best documents, both indexes share {result.agreement.overlap:.0%}; the best one is the same "
            f"for {result.agreement.same_first:.0%} of the queries."
        )
    if result.step == "build":
        say(f"Built {result.other}. To use it: encloze reindex --index {result.index} --step cut_over")
        return
    if result.caught_up:
        say(f"{result.caught_up:,} documents were changed meanwhile, and now in this index, too.")
    back = "rollback" if result.step == "cut_over" else "cut_over"
    say(f"{result.index} is the other index now. The one before is {result.other}.")
    say(f"To exchange them again: encloze reindex --index {result.index} --step {back}")


@show.register
def _(result: DemoResult) -> None:
    show(result.report)
    for effect in result.effects:
        _show_effect(effect)
    before = "before (MiniLM off the shelf)" if result.backbone == "minilm" else "before (fine-tuned only)"
    columns = (Column(before), Column("after (RetroMAE, then fine-tuned)"))
    for example in result.examples:
        pairs = zip(example.before, example.after, strict=False)
        rows = tuple((hit.title, other.title) for hit, other in pairs)
        show_table(Table(f'"{example.question}"', columns, rows))
    say(f"Saved the report on all models and their training to {result.page}.")
    say(f"The demo took {result.minutes:.1f} minutes. All results are in {result.folder}. Next:")
    for command in _COMMANDS_AFTER_DEMO:
        say(f"  {command.format(folder=result.folder)}")


def _show_effect(effect: StageEffect) -> None:
    low, high = effect.difference.low, effect.difference.high
    say(f"{effect.stage}: {effect.verdict()} ({effect.difference.mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}).")

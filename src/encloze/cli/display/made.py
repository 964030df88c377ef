"""Folders that a verb has made, and what usually comes next."""

from __future__ import annotations

import functools

from encloze.cli.display.screen import OUT, show
from encloze.commands.base import Calibrated, Generated, Merged, Mined, Reported, Scored, Trained, TrainedClassifier
from encloze.commands.index import Indexed

_NEXT = {
    "finetune": "encloze finetune --model {folder} --dataset FOLDER --output MODEL",
    "index": "encloze index --model {folder} --corpus FOLDER --output INDEX",
    "score": "encloze score --model {folder} --dataset FOLDER --candidates RUN --output SCORES",
}


@show.register
def _(result: Trained) -> None:
    folder = result.folder
    OUT.print(f"The model is in {folder}. Next: {_NEXT[result.next_verb].format(folder=folder)}", markup=False)


@show.register
def _(result: TrainedClassifier) -> None:
    for report in result.reports:
        show(report)
    OUT.print(f"The model, with what it makes of each label, is in {result.folder}.", markup=False)


@show.register
def _(result: Scored) -> None:
    folder = result.folder
    OUT.print(f"{result.pairs:,} pairs of {result.queries:,} queries are scored in {folder}. Next:", markup=False)
    OUT.print(f"  encloze finetune --teacher {folder} --negatives {folder} --losses kl_divergence ...", markup=False)


@show.register
def _(result: Calibrated) -> None:
    OUT.print(
        f"{result.folder} gives probabilities, learnt from {result.pairs:,} pairs, {result.relevant:.1%} of them "
        "relevant. On queries that they were not learnt from:",
        markup=False,
    )
    for what, off in (("logistic of the scores", result.before), ("calibrated", result.after)):
        OUT.print(f"  {what}: calibration error {off.calibration_error:.4f}, Brier {off.brier:.4f}", markup=False)
    for level in result.levels:
        found = "no pair"
        if level.precision is not None:
            found = f"{level.precision:.0%} of these pairs are relevant, and {level.recall:.0%} of all relevant ones "
            found += "are among them"
        OUT.print(f"  probability {level.probability:.2f} or more: {found}", markup=False)
    OUT.print(f'Next: encloze search --index INDEX --reranker {result.folder} "what you look for"', markup=False)


@show.register
def _(result: Mined) -> None:
    folder = result.folder
    OUT.print(f"{result.negatives:,} negatives for {result.queries:,} queries are in {folder}.", markup=False)
    for why, count in result.dropped.items():
        OUT.print(f"  {count:,} candidates were left out: {why}", markup=False)
    OUT.print(f"Next: encloze finetune --negatives {folder} --dataset FOLDER ...", markup=False)


@show.register
def _(result: Generated) -> None:
    folder, count = result.folder, sum(result.queries.values())
    splits = ", ".join(f"{split} {queries:,}" for split, queries in result.queries.items())
    say = functools.partial(OUT.print, markup=False)
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
    OUT.print(f"The weight of the adapted model is {result.weight:g}.", markup=False)
    show.dispatch(Trained)(result)


@show.register
def _(result: Reported) -> None:
    OUT.print(f"{result.page} tells of {result.results} result{'s' * (result.results > 1)}: open it.", markup=False)
    for folder in result.cards:
        OUT.print(f"The card of {folder} tells its figures.", markup=False)
    if result.cards_asked and not result.cards:
        OUT.print("No card was written: no system is a folder that encloze trained, judged without a re-ranker.")


@show.register
def _(result: Indexed) -> None:
    views = ", ".join(view["name"] for view in result.views)
    OUT.print(f"{result.documents:,} documents are indexed in {result.folder} ({views}). Next:", markup=False)
    OUT.print(f'  encloze search --index {result.folder} "what you look for"', markup=False)

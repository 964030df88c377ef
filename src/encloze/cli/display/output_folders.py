"""Display of the results of commands that write a folder: what it contains, and which command usually follows."""

from __future__ import annotations

from encloze.cli.display.console import say, show, show_tables
from encloze.commands.base import (
    CalibrationResult,
    ClassifierTrainingResult,
    CompressionResult,
    ExportResult,
    GenerationResult,
    MergeResult,
    MiningResult,
    ScoringResult,
    TrainingResult,
)
from encloze.commands.encode import EncodingResult
from encloze.commands.index import IndexingResult
from encloze.commands.label import LabelingResult
from encloze.commands.report import ReportResult
from encloze.commands.verify import Verification
from encloze.escapes import visible
from encloze.retrieval.index_change import IndexChange

_NEXT_COMMANDS = {
    "finetune": "encloze finetune --model {folder} --dataset FOLDER --output MODEL",
    "index": "encloze index --model {folder} --corpus FOLDER --output INDEX",
    "score": "encloze score --model {folder} --dataset FOLDER --candidates RUN --output SCORES",
}


@show.register
def _(result: TrainingResult) -> None:
    if result.verdict and result.verdict.has_learned is False:
        say(f"Saved the model to {result.folder}.")
        return
    next_command = _NEXT_COMMANDS[result.next_command].format(folder=result.folder)
    say(f"Saved the model to {result.folder}. Next: {next_command}")


@show.register
def _(result: ClassifierTrainingResult) -> None:
    for report in result.reports:
        show(report)
    say(f"Saved the model and its predictions to {result.folder}.")


@show.register
def _(result: ScoringResult) -> None:
    folder = result.folder
    say(f"Saved the scores of {result.pairs:,} pairs of {result.queries:,} queries to {folder}. Next:")
    say(f"  encloze finetune --teacher {folder} --negatives {folder} --losses kl_divergence ...")


@show.register
def _(result: ExportResult) -> None:
    show_tables(result.report.tables(), result.report.notes)
    folder = result.folder
    settings = {
        "index": f"--model {folder} --corpus FOLDER --output INDEX",
        "search": f"--reranker {folder} --index INDEX",
    }
    say(f"Exported the model to {folder}. Next: encloze {result.next_command} {settings[result.next_command]}")


@show.register
def _(result: CompressionResult) -> None:
    show_tables(result.report.tables(), result.report.notes)
    say(f"Saved the figures to {result.folder}; encloze report draws them.")
    if result.recipe:
        say(f"To use the recommended configuration: encloze index {result.recipe} --corpus FOLDER --output INDEX")


@show.register
def _(result: LabelingResult) -> None:
    judged = (
        f"{result.judged:,} of {result.documents:,} documents are judged, {result.complete:,} of {result.queries:,}"
    )
    say(f"{judged} queries are complete. To evaluate systems on these judgments:")
    settings = f"{{type: generated_queries, corpus: FOLDER, path: {result.folder}}}"
    say(f"  encloze evaluate --dataset '{settings}' --split judged --systems ...")


@show.register
def _(result: EncodingResult) -> None:
    names = {"dense": "embeddings", "sparse": "term weights"}
    kinds = " and ".join(f"{names[kind]} of {dim:,} dimensions" for kind, dim in result.dims.items())
    say(f"Wrote {kinds} of {result.count:,} texts to {result.file}.")


@show.register
def _(result: CalibrationResult) -> None:
    say(
        f"Calibrated {result.folder} on {result.pairs:,} pairs, of which {result.relevant:.1%} are relevant. "
        "On held-out queries:"
    )
    for name, error in (("logistic function of the scores", result.uncalibrated), ("calibrated", result.calibrated)):
        say(f"  {name}: calibration error {error.calibration_error:.4f}, Brier score {error.brier:.4f}")
    for point in result.operating_points:
        figures = "no pairs"
        if point.precision is not None:
            figures = f"precision {point.precision:.0%}, recall {point.recall:.0%}"
        say(f"  probability {point.probability:.2f} or more: {figures}")
    say(f'Next: encloze search --index INDEX --reranker {result.folder} "your query"')


@show.register
def _(result: MiningResult) -> None:
    say(f"Saved {result.negatives:,} negatives for {result.queries:,} queries to {result.folder}.")
    for reason, count in result.dropped.items():
        say(f"  {count:,} candidates were dropped: {reason}")
    say(f"Next: encloze finetune --negatives {result.folder} --dataset FOLDER ...")


@show.register
def _(result: GenerationResult) -> None:
    folder, total = result.folder, sum(result.queries.values())
    splits = ", ".join(f"{split} {count:,}" for split, count in result.queries.items())
    say(f"Saved {total:,} queries for {result.documents:,} documents to {folder} ({splits}).")
    for reason, count in result.dropped.items():
        say(f"  {count:,} were dropped: {reason}")
    for query, document in result.examples:
        say(f'  "{query}" for the document: {document} ...')
    dataset = f"'{{type: generated_queries, corpus: FOLDER, path: {folder}}}'"
    say(f"Next: encloze mine --dataset {dataset} --output NEGATIVES")


@show.register
def _(result: MergeResult) -> None:
    for report in result.reports:
        show(report)
    say(f"Weight of the adapted model: {result.weight:g}.")
    show.dispatch(TrainingResult)(result)


@show.register
def _(result: ReportResult) -> None:
    say(f"Saved the report on {result.results} result{'s' * (result.results > 1)} to {result.page}.")
    for folder in result.cards:
        say(f"Added the results to the model card of {folder}.")
    if result.cards_requested and not result.cards:
        say("No model card was written: none of the evaluated systems is a model folder that encloze wrote.")


@show.register
def _(result: IndexingResult) -> None:
    views = ", ".join(view["name"] for view in result.views)
    say(f"Indexed {result.documents:,} documents in {result.folder} ({views}). Next:")
    say(f'  encloze search --index {result.folder} "your query"')


@show.register
def _(result: IndexChange) -> None:
    done = {"added": result.added - result.replaced, "replaced": result.replaced, "deleted": result.deleted}
    parts = [f"{_documents(count)} {name}" for name, count in done.items() if count]
    segments = f"{result.segments} segment{'s' * (result.segments > 1)}"
    say(f"{result.folder}: {', '.join([*parts, f'{_documents(result.documents)} now'])}, in {segments}.")
    if result.missing:
        listed = ", ".join(map(visible, result.missing[:5]))
        say(f"Not in the index: {listed}{f' and {len(result.missing) - 5:,} more' * (len(result.missing) > 5)}")


def _documents(count: int) -> str:
    return f"{count:,} document{'s' * (count != 1)}"


@show.register
def _(result: Verification) -> None:
    show_tables([result.table()], result.notes())
    if not result.has_failed:
        say(f"{result.folder} is intact.")

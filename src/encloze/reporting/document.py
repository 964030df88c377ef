"""A report as a value: its sections, and the figures that they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from encloze import progress
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.inspection import INSPECTION
from encloze.evaluation.labels import REPORT as LABELS
from encloze.evaluation.report import Report
from encloze.reporting.blocks import Section
from encloze.reporting.cards import OfModel, judged_models, stressed_models
from encloze.reporting.made import Made
from encloze.reporting.sections.inspected import inspected
from encloze.reporting.sections.labelled import labelled
from encloze.reporting.sections.learnt import LOG, MONITORS, curves, learnt
from encloze.reporting.sections.measured import measured
from encloze.reporting.sections.repeated import repeated
from encloze.reporting.sections.stressed import CARD, stressed
from encloze.reporting.texts import Texts, texts_of
from encloze.storage.json_files import read_json

_COMPARISON, _REPORT = "comparison.json", "report.json"


class Document(NamedTuple):
    """A report, before it is a page."""

    title: str
    sections: list[Section]
    figures: list[dict[str, Any]]
    """For each folder its verb, settings, versions, inputs, and the figures it keeps."""
    models: list[OfModel]
    """The model folders that were judged or stressed, with what came out."""


def document(title: str, made: Sequence[Made], *, texts: bool, examples: int) -> Document:
    """Read what the folders hold; without ``texts`` no query's or document's text is read."""
    sections, models = list[Section](), list[OfModel]()
    made = made if texts else [one.without_texts() for one in made]
    for one in sorted(made, key=_kind):
        progress.note(f"Reading {one.name} ({one.verb})")
        if (table := _table(one)) is not None:
            of_texts = texts_of(one) if texts else [Texts()] * len(table.reports)
            sections.append(measured(one, table, of_texts, examples))
            models += judged_models(one, table)
        if (one.folder / CARD).is_file():
            sections.append(stressed(one, texts))
            models += stressed_models(one, read_json(one.folder / CARD))
        if (one.folder / INSPECTION).is_file():
            sections.append(inspected(one, texts))
        sections += labelled(one, texts)
        if (one.folder / LOG).is_file():
            sections.append(learnt(one))
    return Document(title, [*sections, repeated(made)], [_figures(one) for one in made], models)


def _kind(one: Made) -> int:
    """What people look for first comes first: comparisons, robustness, inspections; how models were trained is last."""
    files = (_COMPARISON, _REPORT, CARD, INSPECTION)
    return next((number for number, name in enumerate(files) if (one.folder / name).is_file()), len(files))


def _table(one: Made) -> ComparisonTable | None:
    """What a comparison, or an evaluation, found; None for other folders."""
    if (one.folder / _COMPARISON).is_file():
        return ComparisonTable.load(one.folder)
    return ComparisonTable.of(Report.load(one.folder)) if (one.folder / _REPORT).is_file() else None


def _figures(one: Made) -> dict[str, Any]:
    names = (_COMPARISON, _REPORT, CARD, INSPECTION)
    kept = [read_json(one.folder / name) for name in names if (one.folder / name).is_file()]
    for encoder in ((kept[0].get("panel") or {}) if kept else {}).get("encoders", []):
        del encoder["near"], encoder["frequent"]  # texts, not figures
    found = {"folder": str(one.folder), "verb": one.verb, "figures": kept[0] if kept else None}
    found |= {"labels": [read_json(file) for file in sorted(one.folder.glob(LABELS.format("*")))]}
    found |= {"curves": {**curves(one.folder / LOG), **curves(one.folder / MONITORS)}}
    return {**found, "recipe": one.tree, "versions": one.versions, "inputs": one.inputs}

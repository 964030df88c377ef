"""Assembly of a report from result folders: its sections, the measured numbers, and the evaluated models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from encloze import progress
from encloze.evaluation.answers import ANSWERS_FILE
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.compression import COMPRESSION_FILE
from encloze.evaluation.inspection import INSPECTION_FILE
from encloze.evaluation.labels import REPORT_FILE as LABELS
from encloze.evaluation.report import Report
from encloze.evaluation.robustness import ROBUSTNESS_FILE as ROBUSTNESS
from encloze.reporting.blocks import Section
from encloze.reporting.dataset_texts import DatasetTexts, read_texts
from encloze.reporting.model_cards import ModelFigures, evaluation_figures, robustness_figures
from encloze.reporting.result_folders import ResultFolder
from encloze.reporting.sections.answers import answers_section
from encloze.reporting.sections.comparison import comparison_section
from encloze.reporting.sections.compression import compression_section
from encloze.reporting.sections.inspection import inspection_section
from encloze.reporting.sections.labels import label_sections
from encloze.reporting.sections.reproduction import reproduction_section
from encloze.reporting.sections.robustness import robustness_section
from encloze.reporting.sections.training import training_section
from encloze.reporting.training_logs import LOG, MONITORS, read_curves
from encloze.storage.json_files import explain_damage, read_json

_COMPARISON, _REPORT = "comparison.json", "report.json"


class ReportDocument(NamedTuple):
    """Content of a report, which is later rendered as HTML or Markdown."""

    title: str
    sections: list[Section]
    figures: list[dict[str, Any]]
    """For each result folder: its command, settings, versions, inputs and measured numbers, as JSON values."""
    models: list[ModelFigures]
    """Evaluation and robustness results of each model folder, for its model card."""


def build_document(
    title: str, results: Sequence[ResultFolder], *, include_texts: bool, examples: int
) -> ReportDocument:
    """Read result folders, and return the content of a report on their results.

    Args:
        title: Title of the report.
        results: The result folders that the report describes.
        include_texts: Whether the report shows texts of queries and documents.
        examples: Number of queries with the largest gain, and with the largest loss, that are shown for each data set.

    Raises:
        CheckpointError: A file of a result folder is damaged.
    """
    sections, models, figures = list[Section](), list[ModelFigures](), list[dict[str, Any]]()
    results = results if include_texts else [result.without_texts() for result in results]
    for result in sorted(results, key=_rank):
        progress.note(f"Reading the result folder {result.name} (command: {result.command})")
        comparison = _read_comparison(result)
        texts = read_texts(result) if include_texts and comparison else []
        with explain_damage(result.path):
            if comparison is not None:
                texts = texts or [DatasetTexts()] * len(comparison.reports)
                sections.append(comparison_section(result, comparison, texts, examples))
                models += evaluation_figures(result, comparison)
            if (result.path / ROBUSTNESS).is_file():
                sections.append(robustness_section(result, include_texts=include_texts))
                models += robustness_figures(result, read_json(result.path / ROBUSTNESS))
            if (result.path / INSPECTION_FILE).is_file():
                sections.append(inspection_section(result, include_texts=include_texts))
            if (result.path / ANSWERS_FILE).is_file():
                sections.append(answers_section(result))
            if (result.path / COMPRESSION_FILE).is_file():
                sections.append(compression_section(result))
            sections += label_sections(result, include_texts=include_texts)
            if (result.path / LOG).is_file():
                sections.append(training_section(result))
    for result in results:
        with explain_damage(result.path):
            figures.append(_figures(result))
    return ReportDocument(title, [*sections, reproduction_section(results)], figures, models)


def _rank(result: ResultFolder) -> int:
    """Return a sort key of result folders: comparisons first, then evaluations and so on."""
    files = (_COMPARISON, _REPORT, ROBUSTNESS, INSPECTION_FILE, ANSWERS_FILE, COMPRESSION_FILE)
    return next((number for number, name in enumerate(files) if (result.path / name).is_file()), len(files))


def _read_comparison(result: ResultFolder) -> ComparisonTable | None:
    """Return a folder's comparison, or its evaluation converted to a comparison. None if the folder has neither."""
    if (result.path / _COMPARISON).is_file():
        return ComparisonTable.load(result.path)
    if (result.path / _REPORT).is_file():
        return ComparisonTable.from_report(Report.load(result.path))
    return None


def _figures(result: ResultFolder) -> dict[str, Any]:
    names = (_COMPARISON, _REPORT, ROBUSTNESS, INSPECTION_FILE, ANSWERS_FILE, COMPRESSION_FILE)
    contents = [read_json(result.path / name) for name in names if (result.path / name).is_file()]
    for encoder in ((contents[0].get("panel") or {}) if contents else {}).get("encoders", []):
        del encoder["nearest"], encoder["frequent_terms"]  # texts, not figures
    return {
        "folder": str(result.path),
        "verb": result.command,
        "figures": contents[0] if contents else None,
        "labels": [read_json(file) for file in sorted(result.path.glob(LABELS.format("*")))],
        "curves": {**read_curves(result.path / LOG), **read_curves(result.path / MONITORS)},
        "recipe": result.tree,
        "versions": result.versions,
        "inputs": result.inputs,
    }

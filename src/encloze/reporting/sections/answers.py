"""Report section on how well an index distinguishes queries with and without an answer."""

from __future__ import annotations

from pathlib import Path

from encloze.evaluation.answers import AnswerReport
from encloze.reporting.blocks import Block, BulletList, Chart, Section
from encloze.reporting.charts import rate_chart
from encloze.reporting.result_folders import ResultFolder


def answers_section(result: ResultFolder) -> Section:
    """Return the report section on a folder that ``encloze threshold`` wrote."""
    report = AnswerReport.load(result.path)
    points = [(one.false_answers, one.missed_answers) for one in report.curve]
    chosen = report.false_answers.mean, report.missed_answers.mean
    title = "Rates of both errors at all thresholds"
    chart = Chart(title, rate_chart(title, ("false answers", "missed answers"), points, chosen))
    blocks: list[Block] = [*report.tables(), chart, BulletList("Notes", report.notes)]
    return Section(f"{result.name}: queries without an answer, {Path(report.index).name}", blocks)

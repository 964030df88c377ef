"""Report section on compressed variants of a retriever: quality against latency, memory and size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from encloze.evaluation.compression import MEASURE, CompressionReport, Configuration
from encloze.reporting.blocks import Block, BulletList, Chart, Paragraph, Section
from encloze.reporting.charts import CostPoint, frontier_chart
from encloze.reporting.result_folders import ResultFolder

_COSTS: dict[str, Callable[[Configuration], float]] = {
    "median milliseconds per query": lambda one: one.milliseconds["p50"],
    "MB of model and vectors in memory": lambda one: (one.model_bytes + one.vector_bytes) / 1e6,
    "MB of model and index on disk": lambda one: (one.model_bytes + one.disk_bytes) / 1e6,
}


def compression_section(result: ResultFolder) -> Section:
    """Return the report section on a folder that ``encloze compress`` wrote."""
    report = CompressionReport.load(result.path)
    blocks: list[Block] = [Paragraph(f"{report.reason}."), *report.tables()]
    number = None if report.recommended is None else report.configurations.index(report.recommended)
    for label, cost in _COSTS.items():
        title = f"{MEASURE} and {label}"
        points = [CostPoint(one.name, cost(one), one.quality) for one in report.configurations]
        blocks.append(Chart(title, frontier_chart(title, label, MEASURE, points, number)))
    blocks.append(BulletList("Notes", report.notes[:-1]))  # the last one is above
    return Section(f"{result.name}: compression, {Path(report.dataset).name} {report.split}", blocks)

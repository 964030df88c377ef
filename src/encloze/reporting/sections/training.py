"""Report section on a training run: losses, accuracies and the metrics that monitors computed, by training step."""

from __future__ import annotations

from collections import defaultdict

from encloze.reporting import charts
from encloze.reporting.blocks import Block, Chart, Paragraph, Section
from encloze.reporting.result_folders import ResultFolder
from encloze.reporting.training_logs import LOG, MONITORS, Curves, read_curves, summary_table
from encloze.reporting.verdicts import training_verdict

_MAX_CURVES = 8
"""Curves in one chart."""


def training_section(result: ResultFolder) -> Section:
    """Return the report section on the training run that wrote a model folder."""
    logged, monitored = read_curves(result.path / LOG), read_curves(result.path / MONITORS)
    accuracies = {name: curve for name, curve in logged.items() if name.endswith("accuracy")}
    losses = {name: curve for name, curve in logged.items() if name not in accuracies}
    by_monitor: dict[str, Curves] = defaultdict(dict)
    for name, curve in monitored.items():
        monitor, _, metric = name.partition(".")
        by_monitor[monitor][metric] = curve
    verdict = training_verdict(result.path, result.command)
    blocks: list[Block] = [*([Paragraph(str(verdict))] if verdict else []), summary_table(result.path)]
    for name, curves in {"losses": losses, "accuracies": accuracies, **by_monitor}.items():
        groups = _group_by_scale(curves)
        for group in groups:
            title = f"{result.name}: {name}" + f", {', '.join(group)}" * (len(groups) > 1)
            blocks.append(Chart(title, charts.line_chart(title, group)))
    return Section(f"{result.name}: training ({result.command})", blocks)


def _group_by_scale(curves: Curves) -> list[Curves]:
    """Divide curves into one group per chart, in which the maxima of the curves differ by a factor of ten at most."""
    groups: list[Curves] = []
    maxima = {name: max(map(abs, values)) for name, (_, values) in curves.items()}
    for name in sorted(curves, key=lambda name: -maxima[name]):
        top = max(maxima[other] for other in groups[-1]) if groups else 0.0
        if groups and maxima[name] * 10 >= top and len(groups[-1]) < _MAX_CURVES:
            groups[-1][name] = curves[name]
        else:
            groups.append({name: curves[name]})
    return groups

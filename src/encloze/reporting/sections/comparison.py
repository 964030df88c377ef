"""Report section on an evaluation or comparison of systems: measures, significance, time, size and query examples."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from typing import NamedTuple

import numpy as np

from encloze.evaluation.comparison import MEAN, ComparisonTable
from encloze.evaluation.contrasts import Contrast
from encloze.reporting import charts
from encloze.reporting.blocks import Block, BulletList, Chart, Section
from encloze.reporting.dataset_texts import DatasetTexts
from encloze.reporting.query_examples import query_examples
from encloze.reporting.result_folders import ResultFolder
from encloze.tables import Table

_MAX_SCATTER_PLOTS = 6
_MAX_QUERY_CHARACTERS = 100
"""Length of a query in the label of a point."""


class _Cost(NamedTuple):
    """Time or size for a chart's x axis: the sum of ``fields`` of a ``SystemResult``, divided by ``unit``."""

    label: str
    fields: tuple[str, ...]
    unit: float


_COSTS = (
    _Cost("milliseconds per query (batched)", ("milliseconds_per_query",), 1),
    _Cost("milliseconds of a single query, median", ("median_latency",), 1),
    _Cost("MiB of index and model", ("index_bytes", "model_bytes"), 2**20),
    _Cost("MiB of memory", ("memory_bytes",), 2**20),
)


def comparison_section(
    result: ResultFolder, comparison: ComparisonTable, texts: list[DatasetTexts], examples: int
) -> Section:
    """Return the report section on a comparison or an evaluation.

    Args:
        result: The folder of the comparison or evaluation.
        comparison: The results in the folder; those of an evaluation are converted to a comparison.
        texts: Queries, judgments and documents of each data set.
        examples: Number of queries with the largest gain, and with the largest loss, that are shown for each data set.
    """
    blocks: list[Block] = [*_verdicts(comparison), *_mean_charts(comparison), *_tables(comparison)]
    blocks += [*_scatter_plots(comparison, texts), *_cost_charts(comparison)]
    for report, of_dataset, name in zip(comparison.reports, texts, comparison.names, strict=True):
        if of_dataset.reason:
            blocks.append(BulletList(f"No query examples of {name}: its texts cannot be read", [of_dataset.reason]))
        blocks += query_examples(report, of_dataset, examples, name if len(comparison.names) > 1 else "")
    if comparison.notes:
        blocks.append(BulletList("Notes", comparison.notes))
    if (omitted := len(comparison.systems) - 1 - _MAX_SCATTER_PLOTS) > 0:
        note = f"{omitted} systems have no chart by query; their values are in per_query.tsv."
        blocks.append(BulletList("Omitted", [note]))
    splits = [f"{name}, {report.split}" for name, report in zip(comparison.names, comparison.reports, strict=True)]
    return Section(f"{result.name}: {'; '.join(splits)}", blocks)


def _mean_charts(comparison: ComparisonTable) -> Iterator[Chart]:
    columns = [*comparison.names, *["the mean of all data sets"] * (len(comparison.names) > 1)]
    for number, name in enumerate(columns):
        means = {system: of_system[number] for system, of_system in comparison.means.items()}
        title = f"{comparison.measure} on {name}"
        yield Chart(title, charts.bar_chart(title, means))


def _tables(comparison: ComparisonTable) -> list[Table]:
    means, *others = comparison.tables()
    return [means.with_best(*means.names[1:]), *others]


def _verdicts(comparison: ComparisonTable) -> Iterator[BulletList]:
    if comparison.contrasts:
        first, margin = comparison.systems[0].name, comparison.equivalence_margin
        several = len(comparison.names) > 1
        yield BulletList("Results", [_in_words(one, first, margin, several=several) for one in comparison.contrasts])


def _in_words(contrast: Contrast, first: str, margin: float, *, several: bool) -> str:
    """Return a sentence on how a system compares with the first system: better, worse, equivalent or undecided."""
    dataset = "the mean of all data sets" if contrast.dataset == MEAN else contrast.dataset
    where = f" on {dataset}" * several
    kind, comma, suffix = contrast.verdict(margin).partition(",")
    if kind in ("better", "worse"):
        sentence = f"is {kind} than {first}{where}{comma}{suffix}"
    elif kind == "undecided":
        detectable = contrast.minimum_detectable_difference
        sentence = (
            f"is not significantly different from {first}{where} (minimum detectable difference {detectable:.4f})"
        )
    elif kind.startswith("equivalent"):
        sentence = f"is equivalent to {first}{where} within {margin:g}"
    else:
        sentence = f"is not worse than {first}{where} by {margin:g} or more"
    mean, low, high = contrast.difference
    figures = f"{mean:+.4f}, 95\u00a0% interval {low:+.4f} to {high:+.4f}"
    if kind == "undecided":
        figures += f"; minimum detectable difference {contrast.minimum_detectable_difference:.4f}"
    return f"{contrast.system} {sentence} ({figures})."


def _scatter_plots(comparison: ComparisonTable, texts: list[DatasetTexts]) -> Iterator[Chart]:
    """Yield scatter plots of the measure per query, with the first system on the x axis and another on the y axis."""
    first, *others = comparison.systems
    for report, of_dataset, name in zip(comparison.reports, texts, comparison.names, strict=True):
        baseline = comparison.values(report, first, comparison.measure).mean(axis=0).round(3)
        for other in others[:_MAX_SCATTER_PLOTS]:
            values = comparison.values(report, other, comparison.measure).mean(axis=0).round(3)
            points: dict[tuple[float, float], list[str]] = {}
            for query, x, y in zip(report.queries, baseline, values, strict=True):
                points.setdefault((float(x), float(y)), []).append(_point_label(query, of_dataset))
            title = f"{other.name} against {first.name} on {name}, by query"
            yield Chart(title, charts.scatter_plot(title, comparison.measure, first.name, other.name, points))


def _point_label(query: str, texts: DatasetTexts) -> str:
    text = texts.queries.get(query)
    return f"{query}: \u2068{shorten(text, _MAX_QUERY_CHARACTERS, placeholder=' ...')}\u2069" if text else query


def _cost_charts(comparison: ComparisonTable) -> Iterator[Chart]:
    """Yield charts of the measure against time, size or memory, for each data set on which these costs are known."""
    for cost in _COSTS:
        for number, (report, name) in enumerate(zip(comparison.reports, comparison.names, strict=True)):
            points = []
            for system in comparison.systems:
                known = [
                    sum(getattr(result, field) or 0 for field in cost.fields) / cost.unit
                    for result in comparison.results(report, system)
                    if any(getattr(result, field) is not None for field in cost.fields)
                ]
                if known and np.mean(known) > 0:
                    mean = comparison.means[system.name][number]
                    points.append(charts.CostPoint(system.name, float(np.mean(known)), mean))
            if len({point.cost for point in points}) > 1:
                title = f"{comparison.measure} on {name} against {cost.label}"
                yield Chart(title, charts.cost_chart(title, cost.label, comparison.measure, points))

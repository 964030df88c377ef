"""Report section on robustness: how perturbations change the measure, its means on query subsets, degraded queries."""

from __future__ import annotations

from typing import Any

from encloze.evaluation.comparison import short_names
from encloze.evaluation.robustness import ROBUSTNESS_FILE, DegradedQuery, per_query_files, select_most_degraded
from encloze.intervals import Interval
from encloze.reporting.blocks import Block, BulletList, Section
from encloze.reporting.result_folders import ResultFolder
from encloze.storage.json_files import read_json
from encloze.tables import Cell, Column, Kind, Table, Value, quote


def robustness_section(result: ResultFolder, *, include_texts: bool) -> Section:
    """Return the report section on the robustness results in a folder."""
    report = read_json(result.path / ROBUSTNESS_FILE)
    systems = list(dict.fromkeys(drop["system"] for drop in report["drops"]))
    blocks: list[Block] = [_heat_map(report, systems)]
    if report["slices"]:
        blocks.append(_slice_table(report))
    blocks += [_degraded_queries(result, report, systems, name, include_texts=include_texts) for name in systems]
    if report["notes"]:
        blocks.append(BulletList("Notes", report["notes"]))
    (dataset,) = short_names([report["dataset"]])
    return Section(f"{result.name}: robustness on {dataset}, {report['split']}, {report['queries']:,} queries", blocks)


def _heat_map(report: dict[str, Any], systems: list[str]) -> Table:
    """Return a table of the measure's changes by perturbation and system, colored by the change as a percentage."""
    drops = {(drop["system"], drop["perturbation"]): drop for drop in report["drops"]}
    clean = {drop["system"]: drop["clean"] for drop in report["drops"]}
    columns = (
        Column("perturbation"),
        Column("changed queries", Kind.SHARE),
        *(Column(name, Kind.DIFFERENCE) for name in systems),
    )
    rows: list[tuple[Value | Cell, ...]] = [
        ("none (measure)", None, *(Cell(clean[name], kind=Kind.MEASURE) for name in systems))
    ]
    for perturbation, changed in report["changed"].items():
        cells = [_heat_cell(drops[name, perturbation]) for name in systems]
        rows.append((perturbation, changed, *cells))
    return Table(f"Change of {report['measure']}; * if the 95 % interval excludes 0", columns, tuple(rows))


def _heat_cell(drop: dict[str, Any]) -> Cell:
    mean, low, high = (drop["drop"][key] for key in ("mean", "low", "high"))
    interval = "" if low is None else f", 95 % interval {-high:+.4f} to {-low:+.4f}"
    hint = (
        f"{drop['clean']:.4f} to {drop['perturbed']:.4f}{interval}; {drop['degraded']:.0%} of the queries are degraded"
    )
    heat = max(-1.0, min(1.0, 2 * mean / drop["clean"])) if drop["clean"] else 0.0
    is_significant = low is not None and (low > 0 or high < 0)
    return Cell(-mean, heat=heat, hint=hint, suffix=" *" * is_significant)


def _slice_table(report: dict[str, Any]) -> Table:
    columns = (
        Column("slice", is_grouping=True),
        Column("queries", Kind.COUNT, is_grouping=True),
        Column("system"),
        Column("in slice", Kind.MEASURE),
        Column("other queries", Kind.MEASURE),
        Column("difference", Kind.DIFFERENCE),
    )
    rows = tuple(
        (one["slice"], one["queries"], one["system"], *map(_interval, (one["inside"], one["rest"], one["difference"])))
        for one in report["slices"]
    )
    return Table(f"Slices of the unperturbed queries, {report['measure']}", columns, rows)


def _interval(values: dict[str, float | None]) -> Interval | float | None:
    """Return a mean with its confidence interval, or only the mean if the bounds are not finite."""
    return values["mean"] if values["low"] is None else Interval.from_dict(values)


def _degraded_queries(
    result: ResultFolder, report: dict[str, Any], systems: list[str], system: str, *, include_texts: bool
) -> BulletList:
    """List the queries for which a system's measure drops most, each with the perturbation that causes the drop."""
    degraded, column = list[DegradedQuery](), 2 * systems.index(system)
    for perturbation, name in zip(report["changed"], per_query_files(list(report["changed"])), strict=True):
        _, *rows = (result.path / name).read_text(encoding="utf-8").rstrip("\n").split("\n")
        for query, original, perturbed_text, *values in (row.split("\t") for row in rows):
            clean, perturbed = map(float, values[column : column + 2])
            if perturbed < clean:
                degraded.append(DegradedQuery(query, original, perturbed_text, clean, perturbed, perturbation))
    lines = [_line(query, include_texts=include_texts) for query in select_most_degraded(degraded)]
    return BulletList(f"{system}: most degraded queries", lines or ["no query is degraded"])


def _line(query: DegradedQuery, *, include_texts: bool) -> str:
    figures = f"{query.query}, {query.perturbation}, {query.clean:.4f} to {query.perturbed:.4f}"
    changed = f" as {quote(query.perturbed_text)}" * (query.perturbed_text != query.original_text)
    return f"{figures}: {quote(query.original_text)}{changed}" if include_texts else figures

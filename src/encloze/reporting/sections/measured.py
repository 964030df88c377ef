"""What evaluations and comparisons found: means, differences, queries one by one, costs, examples."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten

import numpy as np

from encloze.evaluation.comparison import MEAN, ComparisonTable, Contrast
from encloze.reporting import charts
from encloze.reporting.answers import answered
from encloze.reporting.blocks import Block, Cell, Chart, Listing, Section, Table
from encloze.reporting.made import Made
from encloze.reporting.texts import Texts

_MOST_SCATTERS = 6
_LONGEST_TOLD = 100  # letters of a query in a tip


def measured(made: Made, table: ComparisonTable, texts: list[Texts], examples: int) -> Section:
    """The section of one folder; ``texts`` holds those of each data set, none of them where they are left out."""
    on = [f"{name}, {report.split}" for name, report in zip(table.names, table.reports, strict=True)]
    blocks: list[Block] = [*_verdicts(table), *_means(table), *_tables(table), *_one_by_one(table, texts)]
    blocks += _costs(table)
    for report, of_dataset, name in zip(table.reports, texts, table.names, strict=True):
        if of_dataset.missing:
            blocks.append(Listing(f"The texts of {name} cannot be read any more: no examples", [of_dataset.missing]))
        blocks += answered(report, of_dataset, examples, name if len(table.names) > 1 else "")
    if table.notes:
        blocks.append(Listing("Notes", table.notes))
    if (left := len(table.competitors) - 1 - _MOST_SCATTERS) > 0:
        told = f"{left} systems have no chart query by query; their values stand in per_query.tsv."
        blocks.append(Listing("Left out", [told]))
    return Section(f"{made.name}: {'; '.join(on)}", blocks)


def _means(table: ComparisonTable) -> Iterator[Chart]:
    columns = [*table.names, *["the mean of all"] * (len(table.names) > 1)]
    for at, name in enumerate(columns):
        means = {competitor: of_name[at] for competitor, of_name in table.means.items()}
        yield Chart(f"{table.measure} on {name}", charts.bars(f"{table.measure} on {name}", means))


def _tables(table: ComparisonTable) -> Iterator[Table]:
    means, *others = table.tables()
    yield Table(means.title, _with_best(means.rows, range(1, len(means.rows[0]))))
    for title, rows in others:
        yield Table(title, [list(row) for row in rows])


def _with_best(rows: list[list[str]], columns: range) -> list[list[str]]:
    """The rows with the highest figure of each column marked."""
    made = [list(row) for row in rows]
    for column in columns:
        figures = [float(row[column].split()[0]) for row in made[1:]]
        for row, figure in zip(made[1:], figures, strict=True):
            row[column] = Cell(row[column], best=len(figures) > 1 and figure == max(figures))
    return made


def _verdicts(table: ComparisonTable) -> Iterator[Listing]:
    if table.contrasts:
        first = table.competitors[0].name
        yield Listing(
            "What came out", [_in_words(one, first, table.margin, len(table.names) > 1) for one in table.contrasts]
        )


def _in_words(one: Contrast, first: str, margin: float, several: bool) -> str:
    dataset = "the mean of all" if one.dataset == MEAN else one.dataset
    verdict, where = one.verdict(margin), f" on {dataset}" * several
    kind, _, besides = verdict.partition(",")
    if kind in ("better", "worse"):
        told = f"is {kind} than {first}{where}{besides and ','}{besides}"
    elif kind == "undecided":
        told = f"cannot be told from {first}{where}, where so many queries show differences from {one.smallest:.4f} on"
    elif kind.startswith("equivalent"):
        told = f"is equivalent to {first}{where} within {margin:g}"
    else:
        told = f"is not worse than {first}{where} by {margin:g} or more"
    low, high = one.difference.low, one.difference.high
    return f"{one.system} {told} ({one.difference.mean:+.4f}, 95\u00a0% interval {low:+.4f} to {high:+.4f})."


def _one_by_one(table: ComparisonTable, texts: list[Texts]) -> Iterator[Chart]:
    """Every query, by what the first system and another made of it."""
    first, *others = table.competitors
    for report, of_dataset, name in zip(table.reports, texts, table.names, strict=True):
        base = table.values(report, first, table.measure).mean(axis=0)
        for other in others[:_MOST_SCATTERS]:
            values = table.values(report, other, table.measure).mean(axis=0)
            points: dict[tuple[float, float], list[str]] = {}
            for query, place in zip(report.queries, zip(base.round(3), values.round(3), strict=True), strict=True):
                said = of_dataset.queries.get(query)
                points.setdefault((float(place[0]), float(place[1])), []).append(
                    f"{query}: \u2068{shorten(said, _LONGEST_TOLD, placeholder=' ...')}\u2069" if said else query
                )
            title = f"{other.name} against {first.name} on {name}, query by query"
            yield Chart(title, charts.against(title, table.measure, first.name, other.name, points))


def _costs(table: ComparisonTable) -> Iterator[Chart]:
    """Quality against time and size, on each data set that tells both."""
    units = {
        "milliseconds a query": ("milliseconds",),
        "MiB of index and model": ("index_bytes", "model_bytes"),
        "MiB of memory": ("memory_bytes",),
    }
    for unit, fields in units.items():
        for at, (report, name) in enumerate(zip(table.reports, table.names, strict=True)):
            points = []
            for competitor in table.competitors:
                known = [
                    sum(getattr(system, field) or 0 for field in fields) / (2**20 if "MiB" in unit else 1)
                    for system in table.results(report, competitor)
                    if any(getattr(system, field) is not None for field in fields)
                ]
                if known and np.mean(known) > 0:
                    points.append(
                        charts.Point(competitor.name, float(np.mean(known)), table.means[competitor.name][at])
                    )
            if len({point.cost for point in points}) > 1:
                title = f"{table.measure} on {name} against {unit}"
                yield Chart(title, charts.costs(title, unit, table.measure, points))

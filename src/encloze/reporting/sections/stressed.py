"""What perturbations cost: a heat map of losses, slices, and the queries that lost most."""

from __future__ import annotations

from typing import Any

from encloze.evaluation.comparison import short_names
from encloze.evaluation.report import quoted
from encloze.evaluation.robustness import DegradedQuery, per_query_files, worst_of
from encloze.reporting.blocks import Block, Cell, Listing, Section, Table
from encloze.reporting.made import Made
from encloze.storage.json_files import read_json

CARD = "robustness.json"


def stressed(made: Made, with_texts: bool) -> Section:
    """The section of a robustness card."""
    card = read_json(made.folder / CARD)
    systems = list(dict.fromkeys(loss["system"] for loss in card["drops"]))
    blocks: list[Block] = [_heat(card, systems)]
    if card["slices"]:
        blocks.append(_slices(card))
    blocks += [_worst(made, card, systems, name, with_texts) for name in systems]
    if card["notes"]:
        blocks.append(Listing("Notes", card["notes"]))
    (dataset,) = short_names([card["dataset"]])
    title = f"{made.name}: robustness on {dataset}, {card['split']}, {card['queries']:,} queries"
    return Section(title, blocks)


def _heat(card: dict[str, Any], systems: list[str]) -> Table:
    """Systems by perturbations; a cell's colour is the share of the measure that is lost."""
    by_place = {(loss["system"], loss["perturbation"]): loss for loss in card["drops"]}
    rows: list[list[str]] = [["perturbation", "changed", *systems]]
    clean = {name: next(loss["clean"] for loss in card["drops"] if loss["system"] == name) for name in systems}
    rows.append(["as asked", "", *(f"{clean[name]:.4f}" for name in systems)])
    for perturbation, changed in card["changed"].items():
        cells = []
        for name in systems:
            loss = by_place[name, perturbation]
            gap, low, high = (loss["drop"][key] for key in ("mean", "low", "high"))
            bounds = "" if low is None else f", 95 % interval {-high:+.4f} to {-low:+.4f}"
            hint = f"{loss['clean']:.4f} to {loss['perturbed']:.4f}{bounds}; worse for {loss['degraded']:.0%} of the queries"
            heat = max(-1.0, min(1.0, 2 * gap / clean[name])) if clean[name] else 0.0
            told = low is not None and (low > 0 or high < 0)
            cells.append(Cell(f"{0.0 - gap:+.4f}{' *' * told}", heat=heat, hint=hint))
        rows.append([perturbation, f"{changed:.0%}", *cells])
    return Table(f"Change of {card['measure']}; * where the 95 % interval leaves 0 out", rows)


def _slices(card: dict[str, Any]) -> Table:
    rows: list[list[str]] = [["slice", "queries", "system", "in it", "rest", "difference"]]
    last = ""
    for one in card["slices"]:
        means = (_with_interval(one[side], "") for side in ("inside", "rest"))
        what = [one["slice"], f"{one['queries']:,}"] if one["slice"] != last else ["", ""]
        rows.append([*what, one["system"], *means, _with_interval(one["difference"], "+")])
        last = one["slice"]
    return Table(f"Slices: {card['measure']} as asked", rows)


def _with_interval(mean: dict[str, float | None], sign: str) -> str:
    form = f"{sign}.4f"
    told = f"{mean['mean']:{form}}"
    return told if mean["low"] is None else f"{told} [{mean['low']:{form}}, {mean['high']:{form}}]"


def _worst(made: Made, card: dict[str, Any], systems: list[str], system: str, with_texts: bool) -> Listing:
    """The queries that lost most, each under its worst perturbation."""
    fallen, first = list[DegradedQuery](), 2 * systems.index(system)
    for perturbation, name in zip(card["changed"], per_query_files(list(card["changed"])), strict=True):
        _, *rows = (made.folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n")
        for query, before, after, *figures in (row.split("\t") for row in rows):
            clean, perturbed = map(float, figures[first : first + 2])
            if perturbed < clean:
                fallen.append(DegradedQuery(query, before, after, clean, perturbed, perturbation))
    lines = [_line(one, with_texts) for one in worst_of(fallen)]
    return Listing(f"{system}: the queries that lost most", lines or ["none lost anything"])


def _line(one: DegradedQuery, with_texts: bool) -> str:
    figures = f"{one.query}, {one.perturbation}, {one.clean:.4f} to {one.perturbed:.4f}"
    changed = f" as {quoted(one.after)}" * (one.after != one.before)
    return f"{figures}: {quoted(one.before)}{changed}" if with_texts else figures

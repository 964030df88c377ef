"""How a training went: its losses and what its monitors saw, step by step."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError
from encloze.reporting import charts
from encloze.reporting.blocks import Block, Chart, Section, Table
from encloze.reporting.made import Made

LOG, MONITORS = "log.jsonl", "monitors.jsonl"
_NO_TERM = ("step", "precision", "seconds", "epoch", "learning_rate")

Curves = dict[str, tuple[list[float], list[float]]]


def learnt(made: Made) -> Section:
    """The section of a model folder."""
    terms, seen = curves(made.folder / LOG), curves(made.folder / MONITORS)
    blocks: list[Block] = [figures(made.folder)]
    losses = {name: curve for name, curve in terms.items() if not name.endswith("_right")}
    right = {name: curve for name, curve in terms.items() if name.endswith("_right")}
    by_monitor: dict[str, Curves] = defaultdict(dict)
    for name, curve in seen.items():
        by_monitor[name.partition(".")[0]][name.partition(".")[2]] = curve
    pictures = {"losses": losses, "shares of right guesses": right, **by_monitor}
    for name, series in pictures.items():
        groups = _alike(series)
        for some in groups:
            title = f"{made.name}: {name}" + f", {', '.join(some)}" * (len(groups) > 1)
            blocks.append(Chart(title, charts.curves(title, some)))
    return Section(f"{made.name}: how it was trained ({made.verb})", blocks)


def curves(file: Path) -> Curves:
    """Steps and values by name, from a file of JSON lines; empty where there is none."""
    found: Curves = defaultdict(lambda: ([], []))
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            entry: Mapping[str, Any] = json.loads(line)
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{file}:{number} is damaged: it is not JSON ({error})") from error
        for name, value in entry.items():
            if name not in _NO_TERM and isinstance(value, (int, float)):
                found[name][0].append(float(entry["step"]))
                found[name][1].append(float(value))
    return dict(found)


def _alike(series: Curves) -> list[Curves]:
    """Curves that can share one scale: none is ten times as high as another of the same picture."""
    groups: list[Curves] = []
    highest = {name: max(map(abs, values)) for name, (_, values) in series.items()}
    for name in sorted(series, key=lambda name: -highest[name]):
        top = max(highest[other] for other in groups[-1]) if groups else 0.0
        if groups and highest[name] * 10 >= top and len(groups[-1]) < 8:
            groups[-1][name] = series[name]
        else:
            groups.append({name: series[name]})
    return groups


def figures(folder: Path) -> Table:
    """Each figure of a training at its beginning and its end."""
    rows = [["figure", "first", "last", "lowest", "highest", "looks"]]
    for name, (_, values) in {**curves(folder / LOG), **curves(folder / MONITORS)}.items():
        cells = (values[0], values[-1], min(values), max(values))
        rows.append([name, *(f"{value:.4g}" for value in cells), str(len(values))])
    return Table("Figures at the beginning and at the end", rows)

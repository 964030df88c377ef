"""Logs of a training run: curves of its losses and of the metrics that monitors computed, and a summary table."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from encloze.storage.json_files import LogEntry, read_json_log
from encloze.storage.json_shapes import shape_fault
from encloze.tables import Column, Kind, Table

LOG, MONITORS = "log.jsonl", "monitors.jsonl"
_NOT_METRICS = ("step", "precision", "seconds", "epoch", "learning_rate")

Curves = dict[str, tuple[list[float], list[float]]]
"""Steps and values by the name of the logged metric."""


def read_curves(file: Path) -> Curves:
    """Return the steps and values of each metric in the log file of a training run.

    Args:
        file: File in JSON Lines format; every line has the key ``step``.

    Returns:
        The curve of each metric, keyed by the name of the metric; empty if the file does not exist.

    Raises:
        CheckpointError: A line is not a JSON object with numbers.
    """
    curves: Curves = defaultdict(lambda: ([], []))
    for entry in read_json_log(file, LogEntry):
        for name, value in entry.items():
            if name not in _NOT_METRICS and not shape_fault(value, float):
                curves[name][0].append(float(entry["step"]))
                curves[name][1].append(float(value))
    return dict(curves)


def summary_table(folder: Path) -> Table:
    """Return the first, last, minimum and maximum value of each metric that a training run logged.

    Args:
        folder: Model folder, which contains the logs of its training run.
    """
    columns = (
        Column("metric"),
        *(Column(name, Kind.NUMBER) for name in ("first", "last", "minimum", "maximum")),
        Column("values", Kind.COUNT),
    )
    rows = tuple(
        (name, values[0], values[-1], min(values), max(values), len(values))
        for name, (_, values) in {**read_curves(folder / LOG), **read_curves(folder / MONITORS)}.items()
    )
    return Table("Training metrics", columns, rows)


def model_card_section(folder: Path) -> str:
    """Return a section with training metrics, in Markdown, for a model card; empty if the folder contains no log.

    Args:
        folder: Model folder, which contains the logs of its training run.
    """
    if not (folder / LOG).is_file():
        return ""
    table = summary_table(folder)
    return "\n".join(["", f"## {table.title}", "", table.to_markdown(), ""])

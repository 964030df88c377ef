"""Report sections on classification: means of measures, precision, recall and F1 of each label, frequent confusions."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from encloze.evaluation.labels import PREDICTIONS_FILE, REPORT_FILE
from encloze.intervals import Interval
from encloze.reporting import charts
from encloze.reporting.blocks import Block, BulletList, Chart, Section
from encloze.reporting.result_folders import ResultFolder
from encloze.storage.json_files import read_json, read_json_log
from encloze.tables import Cell, Column, Kind, Table, Value

_MAX_CONFUSIONS = 12
_MAX_CHARACTERS = 160
"""Length of an example text."""
_CONTEXT_WORDS = 4
"""Words shown on either side of a mislabeled word."""


def label_sections(result: ResultFolder, *, include_texts: bool) -> list[Section]:
    """Return a report section for each data set split whose predicted labels are in the result folder."""
    files = sorted(result.path.glob(REPORT_FILE.format("*")))
    return [_section(result, file, include_texts=include_texts) for file in files]


def _section(result: ResultFolder, file: Path, *, include_texts: bool) -> Section:
    report = read_json(file)
    systems = report["systems"]
    means = {
        system["name"]: {name: Interval.from_dict(mean) for name, mean in system["measures"].items()}
        for system in systems
    }
    measures = list(next(iter(means.values())))
    blocks: list[Block] = []
    for measure in measures:
        title = f"{measure} on {report['split']}"
        blocks.append(Chart(title, charts.bar_chart(title, {name: mean[measure] for name, mean in means.items()})))
    columns = (Column("system"), *(Column(measure, Kind.MEASURE) for measure in measures))
    rows = tuple((name, *(mean[measure] for measure in measures)) for name, mean in means.items())
    predictions = result.path / PREDICTIONS_FILE.format(report["split"])
    blocks += [
        Table("Means with 95 % intervals", columns, rows).with_best(*measures),
        _label_table(systems[-1]),
        *_confusions(predictions, systems[-1]["name"], include_texts=include_texts),
    ]
    if notes := [f"{system['name']}: {system['note']}" for system in systems if system["note"]]:
        blocks.append(BulletList("Notes", notes))
    dataset = Path(report["dataset"]).name
    return Section(f"{result.name}: labels of {dataset}, {report['split']}, {report['texts']:,} texts", blocks)


def _label_table(system: dict[str, Any]) -> Table:
    """Return a table with the precision, recall and F1 of each label."""
    columns = (
        Column("label"),
        Column("count", Kind.COUNT),
        *(Column(name, Kind.MEASURE) for name in ("precision", "recall", "F1")),
    )
    rows = tuple(
        (
            scores["label"],
            scores["texts"],
            scores["precision"],
            scores["recall"],
            Cell(scores["f1"], heat=1 - scores["f1"], hint="red: low F1"),
        )
        for scores in system["labels"]
    )
    return Table(f"{system['name']}, scores by label", columns, rows)


def _confusions(file: Path, system: str, *, include_texts: bool) -> list[Block]:
    """Return a table of a system's most frequent errors: the correct label, the predicted label, and an example."""
    counts, examples = defaultdict[tuple[str, str], int](int), dict[tuple[str, str], str]()
    for entry in read_json_log(file):
        words = entry.get("words")
        labels, predictions = (
            (entry["tags"], entry["predictions"]) if words else ([entry["label"]], [entry["prediction"]])
        )
        for position, pair in enumerate(zip(labels, predictions, strict=True)):
            if pair[0] != pair[1]:
                counts[pair] += 1
                examples.setdefault(pair, _context(words, position) if words else entry["text"])
    if not counts:
        return []
    columns = (Column("label"), Column("prediction"), Column("count", Kind.COUNT), Column("example"))
    rows: list[tuple[Value, ...]] = []
    for pair, count in sorted(counts.items(), key=lambda item: -item[1])[:_MAX_CONFUSIONS]:
        example = " ".join(examples[pair].split())[:_MAX_CHARACTERS]
        rows.append((pair[0], pair[1] or "none: the word was truncated", count, example))
    table = Table(f"{system}: most frequent confusions", columns, tuple(rows))
    return [table if include_texts else table.without_columns("example")]


def _context(words: list[str], position: int) -> str:
    """Return the word at ``position`` in quotation marks, with a few words before and after it."""
    before, after = words[max(0, position - _CONTEXT_WORDS) : position], words[position + 1 :][:_CONTEXT_WORDS]
    return " ".join([*before, f'"{words[position]}"', *after])

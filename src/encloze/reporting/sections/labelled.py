"""What guesses of labels are worth: means, each label, and what is taken for what."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from encloze.evaluation.labels import GUESSES, REPORT
from encloze.evaluation.significance import Interval
from encloze.reporting import charts
from encloze.reporting.blocks import Block, Cell, Chart, Listing, Section, Table
from encloze.reporting.made import Made
from encloze.storage.json_files import read_json

_MISTAKES = 12
_LONGEST = 160  # characters of an example


def labelled(made: Made, with_texts: bool) -> list[Section]:
    """A section for each split that labels were guessed on."""
    return [_section(made, file, with_texts) for file in sorted(made.folder.glob(REPORT.format("*")))]


def _section(made: Made, file: Path, with_texts: bool) -> Section:
    report = read_json(file)
    systems = report["systems"]
    means = {
        system["name"]: {name: Interval.read(mean) for name, mean in system["measures"].items()} for system in systems
    }
    blocks: list[Block] = []
    measures = list(next(iter(means.values())))
    for measure in measures:
        title = f"{measure} on {report['split']}"
        blocks.append(Chart(title, charts.bars(title, {name: of_name[measure] for name, of_name in means.items()})))
    rows: list[list[str]] = [["system", *measures]]
    best = {measure: max(of_name[measure].mean for of_name in means.values()) for measure in measures}
    for name, of_name in means.items():
        cells = ((measure, of_name[measure]) for measure in measures)
        rows.append([name, *(Cell(_told(mean), best=mean.mean == best[measure]) for measure, mean in cells)])
    blocks.append(Table("Means with 95 % intervals", rows))
    blocks += [_labels(systems[-1]), *_mistakes(made.folder / GUESSES.format(report["split"]), systems[-1], with_texts)]
    if notes := [f"{system['name']}: {system['note']}" for system in systems if system["note"]]:
        blocks.append(Listing("Notes", notes))
    title = f"{made.name}: labels of {Path(report['dataset']).name}, {report['split']}, {report['texts']:,} texts"
    return Section(title, blocks)


def _told(mean: Interval) -> str:
    return f"{mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]"


def _labels(system: dict[str, Any]) -> Table:
    rows: list[list[str]] = [["label", "count", "precision", "recall", "F1"]]
    for one in system["labels"]:
        figures = [f"{one[name]:.4f}" for name in ("precision", "recall")]
        hint = "red: rarely right"
        rows.append(
            [one["label"], f"{one['texts']:,}", *figures, Cell(f"{one['f1']:.4f}", heat=1 - one["f1"], hint=hint)]
        )
    return Table(f"{system['name']}, by label", rows)


def _mistakes(file: Path, system: dict[str, Any], with_texts: bool) -> list[Block]:
    """What is taken for what most often, with the first text of each."""
    counts, first = defaultdict[tuple[str, str], int](int), dict[tuple[str, str], str]()
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            held = json.loads(line)
            words = held.get("words")
            truths, guesses = (held["tags"], held["guesses"]) if words else ([held["label"]], [held["guess"]])
            for at, pair in enumerate(zip(truths, guesses, strict=True)):
                if pair[0] != pair[1]:
                    counts[pair] += 1
                    first.setdefault(pair, _around(words, at) if words else held["text"])
    rows: list[list[str]] = [["label", "taken for", "times", *(["as in"] if with_texts else [])]]
    for pair, count in sorted(counts.items(), key=lambda item: -item[1])[:_MISTAKES]:
        example = [" ".join(first[pair].split())[:_LONGEST]] if with_texts else []
        rows.append([pair[0], pair[1] or "nothing: the word was cut off", f"{count:,}", *example])
    return [Table(f"{system['name']}: what is taken for what", rows)] if counts else []


def _around(words: list[str], at: int) -> str:
    """A word between those beside it."""
    return " ".join([*words[max(0, at - 4) : at], f'"{words[at]}"', *words[at + 1 : at + 5]])

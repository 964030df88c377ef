"""Model cards: what a model folder's README.md tells of figures, for people and for the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encloze.errors import DataError
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.report import markdown_table
from encloze.folders import MANIFEST, README
from encloze.reporting.made import Made, model_of
from encloze.reporting.sections.learnt import LOG, figures

_BEGIN, _END = "<!-- encloze: judged -->", "<!-- encloze: end -->"


class JudgedModel(NamedTuple):
    """A model folder, or one view of it, as one system on one data set."""

    folder: Path
    system: str
    dataset: str
    split: str
    measures: dict[str, float]
    interval: str
    """Of the first measure."""
    against: str
    """What came out against the first system."""


def trained(folder: Path) -> str:
    """The part of a card on how training went; empty where nothing was logged."""
    if not (folder / LOG).is_file():
        return ""
    title, rows = figures(folder)
    return "\n".join(["", f"## {title}", "", *markdown_table(rows), ""])


def judged_models(made: Made, table: ComparisonTable) -> Iterator[JudgedModel]:
    """The model folders of encloze's among the systems of a comparison, on each data set."""
    more = [{"type": kind, kind: made.tree[kind]} for kind in ("model", "index") if made.tree.get(kind)]
    given = [*(made.tree.get("systems") or []), *more]
    if len(given) != len(table.competitors):  # a re-ranker doubles them, and then their names no longer tell
        return
    for system, competitor in zip(given, table.competitors, strict=True):
        folder = model_of(made, system)
        if folder is None or not (folder / MANIFEST).is_file() or not (folder / README).is_file():
            continue
        verdicts = {one.dataset: one.verdict(table.margin) for one in table.contrasts if one.system == competitor.name}
        for at, (name, report) in enumerate(zip(table.names, table.reports, strict=True)):
            mean = table.means[competitor.name][at]
            yield JudgedModel(
                folder.resolve(),
                competitor.name,
                name,
                report.split,
                {m: float(table.values(report, competitor, m).mean()) for m in report.measures},
                f"[{mean.low:.4f}, {mean.high:.4f}]",
                f"{verdicts[name]} (against {table.competitors[0].name})" if name in verdicts else "",
            )


def write_cards(found: Sequence[JudgedModel]) -> list[Path]:
    """Put the figures into the card of each model folder, in place of earlier ones."""
    by_folder: dict[Path, list[JudgedModel]] = {}
    for one in found:
        by_folder.setdefault(one.folder, []).append(one)
    for folder, judged in by_folder.items():
        text = (folder / README).read_text(encoding="utf-8")
        partial = folder / f".{README}"
        try:
            partial.write_text(with_figures(text, folder.name, judged), encoding="utf-8")
        except DataError as error:
            raise DataError(
                f"{folder / README}: {error}. Mend it, or take it away, and make the report again"
            ) from error
        partial.replace(folder / README)
    return list(by_folder)


def with_figures(card: str, name: str, judged: Sequence[JudgedModel]) -> str:
    """A card with a table of figures, and the same in its head as the hub reads them."""
    told = re.compile(rf"\n*{re.escape(_BEGIN)}.*?{re.escape(_END)}\n*", re.DOTALL)
    head, body = _parted(told.sub("\n", card))
    others = [one for one in head.get("model-index") or [] if one.get("name") != name]
    head["model-index"] = [*others, {"name": name, "results": [_result(one) for one in judged]}]
    measures = list(dict.fromkeys(measure for one in judged for measure in one.measures))
    rows = [["system", "data set", "split", *measures, "95 % interval", "came out"]]
    for one in judged:
        cells = [f"{one.measures[measure]:.4f}" if measure in one.measures else "" for measure in measures]
        rows.append([one.system, one.dataset, one.split, *cells, one.interval, one.against])
    part = "\n".join([_BEGIN, "## Judged", "", *markdown_table(rows), "", f"The interval is of {measures[0]}.", _END])
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{body.rstrip()}\n\n{part}\n"


def _parted(card: str) -> tuple[dict[str, Any], str]:
    """The YAML head of a card, and the rest."""
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise DataError(f"its head between --- is no YAML: {' '.join(str(error).split())}") from error
    return (head, card[found.end() :]) if found and isinstance(head, dict) else ({}, f"\n{card}")


def _result(one: JudgedModel) -> dict[str, Any]:
    """As the hub's metadata wants it: https://huggingface.co/docs/hub/model-cards#evaluation-results."""
    return {
        "task": {"type": "text-retrieval"},
        "dataset": {"type": one.dataset, "name": one.dataset, "split": one.split},
        "metrics": [
            {"type": _hub_name(measure), "name": f"{measure}, {one.system}", "value": round(value, 5)}
            for measure, value in one.measures.items()
        ],
    }


def _hub_name(measure: str) -> str:
    """nDCG@10 is ndcg_at_10 there, as in sentence-transformers' and MTEB's cards."""
    names = {"rr": "mrr", "r": "recall", "p": "precision", "ap": "map"}
    kind, _, depth = measure.lower().partition("@")
    return names.get(kind, kind) + (f"_at_{depth}" if depth else "")

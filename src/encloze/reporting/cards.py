"""Model cards: what a model folder's README.md tells of figures, for people and for the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encloze.errors import DataError
from encloze.evaluation.comparison import ComparisonTable, short_names
from encloze.evaluation.report import markdown_table
from encloze.reporting.made import Made, models_of
from encloze.reporting.sections.learnt import LOG, figures
from encloze.storage.hashes import hash_of
from encloze.storage.names import MANIFEST, README

_BEGIN, _END = "<!-- encloze: {} -->", "<!-- encloze: end -->"


class JudgedModel(NamedTuple):
    """A model folder, or one view of it, as one system on one data set."""

    folder: Path
    system: str
    dataset: str
    identity: str
    """Of what the data set holds: others may have its name."""
    split: str
    measures: dict[str, float]
    interval: str
    """Of the first measure, which it names."""
    against: str
    """What came out against the first system."""

    @property
    def part(self) -> tuple[str, str]:
        """The title of the part of a card that it stands in, and its key: a later one of the same takes its place."""
        return f"Judged on {self.dataset}, {self.split}", f"judged {self.identity} {self.split}"


class StressedModel(NamedTuple):
    """What one hardship cost a model folder, as one system on one data set."""

    folder: Path
    system: str
    dataset: str
    identity: str
    split: str
    measure: str
    hardship: str
    clean: float
    perturbed: float
    loss: str
    """With its interval."""

    @property
    def part(self) -> tuple[str, str]:
        """As of a judged model."""
        return f"Robustness on {self.dataset}, {self.split}", f"robustness {self.identity} {self.split}"


OfModel = JudgedModel | StressedModel


def trained(folder: Path) -> str:
    """The part of a card on how training went; empty where nothing was logged."""
    if not (folder / LOG).is_file():
        return ""
    title, rows = figures(folder)
    return "\n".join(["", f"## {title}", "", *markdown_table(rows), ""])


def judged_models(made: Made, table: ComparisonTable) -> Iterator[JudgedModel]:
    """The model folders of encloze's among the systems of a comparison, on each data set; seeds one by one."""
    systems = _systems(made) if made.verb in ("evaluate", "compare") else []  # others name none
    for system, competitor in zip(systems, table.competitors, strict=bool(systems)):
        own = zip(competitor.members, _parts(system), strict=True)
        verdicts = {one.dataset: one.verdict(table.margin) for one in table.contrasts if one.system == competitor.name}
        for (member, part), (at, (name, report)) in product(
            own, enumerate(zip(table.names, table.reports, strict=True))
        ):
            (result,) = (one for one in report.systems if one.name == member)
            mean = table.means[competitor.name][at]
            for folder in _folders(made, part):
                yield JudgedModel(
                    folder,
                    member,
                    name,
                    _identity(made, f"dataset[{at}]" if made.verb == "compare" else "dataset"),
                    report.split,
                    {measure: float(result.values[measure].mean()) for measure in report.measures},
                    f"{table.measure} [{mean.low:.4f}, {mean.high:.4f}]" if member == competitor.name else "",
                    f"{verdicts[name]} (against {table.competitors[0].name})" if name in verdicts else "",
                )


def stressed_models(made: Made, card: dict[str, Any]) -> Iterator[StressedModel]:
    """The same of a robustness card."""
    names = list(dict.fromkeys(loss["system"] for loss in card["losses"]))
    (dataset,) = short_names([card["dataset"]])
    for name, system in zip(names, made.tree["systems"], strict=True):
        for folder in _folders(made, system):
            for loss in (one for one in card["losses"] if one["system"] == name):
                low, high = (loss["loss"][side] for side in ("low", "high"))
                told = f"{loss['loss']['mean']:+.4f}" + (f" [{low:+.4f}, {high:+.4f}]" if low is not None else "")
                yield StressedModel(
                    folder,
                    name,
                    dataset,
                    _identity(made, "dataset"),
                    card["split"],
                    card["measure"],
                    loss["hardship"],
                    loss["clean"],
                    loss["perturbed"],
                    told,
                )


def _systems(made: Made) -> list[dict[str, Any]]:
    """The settings of each competitor."""
    tree = made.tree
    more = [{"type": kind, kind: tree[kind]} for kind in ("model", "index") if tree.get(kind)]
    given = [*(tree.get("systems") or []), *more]
    if made.verb != "compare":  # an evaluation lists seeds one by one, and all again with a re-ranker
        given = [part for system in given for part in _parts(system)]
    if tree.get("reranker"):
        given += [{"type": "reranked", "system": system, "reranker": tree["reranker"]} for system in given]
    return given


def _identity(made: Made, name: str) -> str:
    """A short hash of what a data set held."""
    was = made.inputs[name]
    return str(was.get("sha256") or hash_of(was))[:8]


def _parts(system: dict[str, Any]) -> list[dict[str, Any]]:
    """What is judged one by one."""
    if system["type"] != "seeds":
        return [system]
    return [part for one in system["systems"] for part in _parts(one)]


def _folders(made: Made, system: dict[str, Any]) -> list[Path]:
    """The folders of encloze's models that a system consists of and that have a card."""
    found = dict.fromkeys(folder.resolve() for folder in models_of(made, system))
    return [folder for folder in found if (folder / MANIFEST).is_file() and (folder / README).is_file()]


def write_cards(found: Sequence[OfModel]) -> list[Path]:
    """Put the figures into the card of each model folder, in place of earlier ones of the same data sets."""
    by_folder: dict[Path, list[OfModel]] = {}
    for one in found:
        by_folder.setdefault(one.folder, []).append(one)
    for folder, of_model in by_folder.items():
        text = (folder / README).read_text(encoding="utf-8")
        partial = folder / f".{README}"
        try:
            partial.write_text(with_figures(text, folder.name, of_model), encoding="utf-8")
        except DataError as error:
            raise DataError(
                f"{folder / README}: {error}. Mend it, or take it away, and make the report again"
            ) from error
        partial.replace(folder / README)
    return list(by_folder)


def with_figures(card: str, name: str, found: Sequence[OfModel]) -> str:
    """A card with a table of figures for each data set; those of judgments in its head, too, as the hub reads them."""
    parts: dict[tuple[str, str], list[OfModel]] = {}
    for one in found:
        parts.setdefault(one.part, []).append(one)
    for _, key in parts:
        told = rf"\n*{re.escape(_BEGIN.format(key))}.*?{re.escape(_END)}\n*"
        card = re.sub(told, "\n", card, flags=re.DOTALL)
    head, body = _parted(card)
    if judged := [one for one in found if isinstance(one, JudgedModel)]:
        others = [one for one in head.get("model-index") or [] if one.get("name") != name]
        own = [one for one in head.get("model-index") or [] if one.get("name") == name]
        again = {(one.identity, one.split) for one in judged}
        kept = [one for model in own for one in model["results"] if _place(one) not in again]
        head["model-index"] = [*others, {"name": name, "results": [*kept, *map(_result, judged)]}]
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    tables = [line for part, some in parts.items() for line in _told(*part, some)]
    return "\n".join([f"---\n{front}---\n{body.rstrip()}", *tables]) + "\n"


def _told(title: str, key: str, found: Sequence[OfModel]) -> list[str]:
    """One part of a card, as lines."""
    stressed = [one for one in found if isinstance(one, StressedModel)]
    if stressed:
        rows = [["system", "measure", "hardship", "as asked", "perturbed", "loss, 95 % interval"]]
        rows += [[o.system, o.measure, o.hardship, f"{o.clean:.4f}", f"{o.perturbed:.4f}", o.loss] for o in stressed]
    else:
        judged = [one for one in found if isinstance(one, JudgedModel)]
        measures = list(dict.fromkeys(measure for one in judged for measure in one.measures))
        rows = [["system", *measures, "95 % interval", "came out"]]
        for one in judged:
            cells = [f"{one.measures[measure]:.4f}" if measure in one.measures else "" for measure in measures]
            rows.append([one.system, *cells, one.interval, one.against])
    return ["", _BEGIN.format(key), f"## {title}", "", *markdown_table(rows), _END]


def _place(result: dict[str, Any]) -> tuple[str, str]:
    """The data set and split of a result in a card's head."""
    dataset = result.get("dataset") or {}
    return str(dataset.get("config")), str(dataset.get("split"))


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
        "dataset": {"type": one.dataset, "name": one.dataset, "config": one.identity, "split": one.split},
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
